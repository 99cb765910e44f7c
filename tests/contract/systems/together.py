"""A system unlike ART•V, as a newcomer would write one: eight frames at once, a flow in pixels.

No frame is given, none is copied, and text pulls under a name of its own. Its tests place this
folder beside the shipped systems, as if it had been added there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_artv.batch import VideoBatch
from lightning_artv.data.windows import Window, Windows
from lightning_artv.diffusion.noise import Generators, rand, randn
from lightning_artv.errors import UserError
from lightning_artv.figures import Figure, Scalar
from lightning_artv.systems.base import (
    DenoisingStep,
    LossOutput,
    Observer,
    Recorder,
    Request,
    SamplingSettings,
    VideoSystem,
)

FRAMES = 8


class EightFrames(Windows):
    """Eight consecutive frames, a role each."""

    @property
    def least(self) -> int:
        return FRAMES

    def choose(self, count: int, rng: random.Random) -> Window:
        start = rng.randint(0, count - FRAMES)
        return Window(tuple(range(start, start + FRAMES)), (tuple(range(FRAMES)),))


@dataclass(frozen=True)
class Pull:
    """How strongly words pull."""

    words: float = 1.5


@dataclass(frozen=True)
class TogetherSampling(SamplingSettings):
    """How clips are sampled.

    Attributes:
        steps: Euler steps per clip.
        pull: weights of the text.
        warmth: standard deviation of the first noise.
    """

    steps: int = 3
    pull: Pull = Pull()
    warmth: float = 1.0


class Brightness(Recorder):
    """The mean of the predicted clips at each step."""

    def __init__(self) -> None:
        self.means: dict[int, float] = {}

    def __call__(self, step: DenoisingStep) -> None:
        self.means[step.step] = float(step.clean.mean())

    def figures(self) -> dict[str, Figure]:
        return {f"brightness/{step}": Scalar(mean) for step, mean in self.means.items()}


class Together(VideoSystem):
    """Eight frames are one sample; longer videos are several, cut at the end.

    Args:
        width: channels of the hidden layer.
        sampling: defaults of generation.
    """

    windows = EightFrames

    def __init__(self, width: int = 4, sampling: TogetherSampling = TogetherSampling()) -> None:
        super().__init__()
        self.words = nn.Embedding(256, width)
        self.into, self.out = nn.Conv3d(4, width, 3, padding=1), nn.Conv3d(width, 3, 3, padding=1)
        self._sampling = sampling

    @property
    def sampling(self) -> TogetherSampling:
        return self._sampling

    @property
    def size_multiple(self) -> int:
        return 1

    def flow(self, x: Tensor, level: Tensor, texts: Sequence[str]) -> Tensor:
        """Where `x` `[B, 3, 8, H, W]` flows at `level` `[B]`."""
        levels = level[:, None, None, None, None].expand(-1, 1, *x.shape[2:])
        bytes_of = [torch.tensor([*(text.encode() or b"\0")], device=x.device) for text in texts]
        words = torch.stack([self.words(one).mean(dim=0) for one in bytes_of])
        hidden = self.into(torch.cat([x, levels], dim=1)) + words[:, :, None, None, None]
        return self.out(hidden.relu())

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        clips = batch.gather(batch.frames).transpose(1, 2).float() / 127.5 - 1
        level = rand(generators, (), clips.device)
        noise = randn(generators, clips.shape[1:], clips.device)
        t = level[:, None, None, None, None]
        flow = self.flow((1 - t) * clips + t * noise, level, batch.each_target(batch.captions))
        error = (flow - (noise - clips)).square().mean(dim=(1, 2, 3, 4))
        size = flow.detach().abs().mean(dim=(1, 2, 3, 4))
        return LossOutput(error.mean(), error.detach(), level, {"flow": size})

    def recorder(self) -> Brightness:
        return Brightness()

    def check(self, request: Request) -> None:
        super().check(request)
        if request.settings.steps > 100:
            raise UserError(f"{request.settings.steps} steps: choose at most 100.")

    @torch.no_grad()
    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        made = 0
        for segment in request.segments:
            for start in range(0, segment.frames, FRAMES):
                clip = self._clip(request, segment.prompts, made + start, observer)
                yield from clip[:, :, : segment.frames - start].unbind(2)
            made += segment.frames

    def _clip(
        self, request: Request, prompts: Sequence[str], frame: int, observer: Observer | None
    ) -> Tensor:
        """uint8 `[B, 3, 8, H, W]`."""
        settings, device = request.settings, self.out.weight.device
        assert isinstance(settings, TogetherSampling)
        x = settings.warmth * randn(request.generators, (3, FRAMES, *request.size), device)
        for step in range(settings.steps):
            t = 1 - step / settings.steps
            level = torch.full((len(x),), t, device=device)
            plain, told = (self.flow(x, level, texts) for texts in ([""] * len(x), prompts))
            flow = plain + settings.pull.words * (told - plain)
            if observer is not None:
                observer(DenoisingStep(frame, step, round(1000 * t), x - t * flow))
            x = x - flow / settings.steps
        return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
