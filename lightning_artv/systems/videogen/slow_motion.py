"""Slow motion of any system's videos: temporal super-resolution between the frames that it makes.

It reads pictures, so it serves systems of other latents than it was trained on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lightning_artv.diffusion.noise import Generators, generators_for
from lightning_artv.errors import UserError, check_whole
from lightning_artv.systems.base import (
    DEFAULT_FPS,
    Observer,
    Origin,
    Request,
    SamplingSettings,
    Segment,
    VideoModel,
)
from lightning_artv.systems.videogen.rollout import PASSES
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution


class SlowMotion(VideoModel):
    """A system whose videos get frames between their own, which stay as they are bit for bit.

    Its settings are the system's and `passes`: how often a frame is made between each two.

    Args:
        system: what makes videos.
        tsr: what makes frames between them.
    """

    def __init__(self, system: VideoModel, tsr: TemporalSuperResolution) -> None:
        super().__init__()
        self.system, self.tsr = system, tsr
        self.continues = system.continues
        described = [part.origin.description for part in (system, tsr)]
        self.origin = Origin(system.origin.size, system.origin.fps, json.dumps(described))

    @property
    def note(self) -> str:
        """The system's."""
        return self.system.note

    @property
    def sampling(self) -> SamplingSettings:
        """The system's, and 3 passes."""
        settings = self.system.sampling
        fields = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
        kind: Any = type(settings)
        return _with_passes(kind)(**fields)

    @property
    def size_multiple(self) -> int:
        """That of both."""
        return math.lcm(self.system.size_multiple, self.tsr.autoencoder.factor)

    def frame_rate(self, settings: SamplingSettings) -> float:
        """The system's, as often doubled as there are passes: nothing moves slower."""
        return (self.system.frame_rate(settings) or DEFAULT_FPS) * 2 ** _passes(settings)

    def check(self, request: Request) -> None:
        """See `Generative.check`."""
        request.check(self.size_multiple)
        self.system.check(_own(request))

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `Generative.frames`; an observer sees the system's own frames, by their number."""
        total = sum(segment.frames for segment in request.segments)
        return islice(self._frames(request, observer), total)

    @torch.no_grad()
    def _frames(self, request: Request, observer: Observer | None) -> Iterator[Tensor]:
        # noise of its own, so that the system's frames are those that it makes alone
        seeds = [generator.initial_seed() for generator in request.generators]
        generators = [generators_for(seed, ["slow motion"])[0] for seed in seeds]
        last: Tensor | None = None
        for frame in self.system.frames(_own(request), observer):
            if last is not None:
                yield from self._between(last, frame, generators, _passes(request.settings))
            yield frame
            last = frame

    def _between(
        self, first: Tensor, last: Tensor, generators: Generators, passes: int
    ) -> Iterator[Tensor]:
        """The `2 ** passes - 1` frames between two, uint8 `[B, 3, H, W]` each."""
        autoencoder = self.tsr.autoencoder
        latents = autoencoder.encode(torch.cat([first, last])).unflatten(0, (2, -1)).transpose(0, 1)
        for _ in range(passes):
            latents = self.tsr.slow_down(latents, generators)
        if passes:
            yield from autoencoder.decode_clip(latents)[:, 1:-1].unbind(1)


@cache
def _with_passes(kind: Any) -> Any:
    """A system's settings with one more."""

    def check(self: Any) -> None:
        check_whole("passes", self.passes, 0)
        getattr(kind, "__post_init__", lambda _: None)(self)

    fields = [("passes", int, dataclasses.field(default=PASSES))]
    space = {"__post_init__": check, "__doc__": kind.__doc__}
    return dataclasses.make_dataclass(
        kind.__name__, fields, bases=(kind,), namespace=space, frozen=True
    )


def _passes(settings: SamplingSettings) -> int:
    return getattr(settings, "passes", PASSES)


def _own(request: Request) -> Request:
    """What the system itself is asked for: every `2 ** passes`th frame, and the one behind the last
    of them where more are wanted.

    Raises:
        UserError: a segment in which the system would make no frame.
    """
    step = 2 ** _passes(request.settings)
    segments, start = [], 0
    ends = [sum(s.frames for s in request.segments[: i + 1]) for i in range(len(request.segments))]
    for segment, end in zip(request.segments, ends, strict=True):
        last = end == ends[-1]
        frames = math.ceil((end - 1) / step) + 1 - start if last else math.ceil(end / step) - start
        if frames < 1:
            raise UserError(
                f"A prompt of {segment.frames} frames is over before the system makes its next "
                f"frame, of which there is one in {step}: give it {step} frames or lower passes."
            )
        segments.append(Segment(segment.prompts, frames))
        start += frames
    return dataclasses.replace(request, segments=tuple(segments))
