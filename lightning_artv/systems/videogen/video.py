"""VideoGen composed of parts that were trained alone: stages, slow motion, a video decoder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import Autoencoder
from lightning_artv.systems.base import (
    Observer,
    Origin,
    Request,
    SamplingSettings,
    Trainable,
    VideoModel,
)
from lightning_artv.systems.videogen.parts import DecodesClips, Doubles
from lightning_artv.systems.videogen.rollout import (
    Parts,
    check,
    passes_of,
    rollout,
    went_without,
)
from lightning_artv.systems.videogen.settings import VideoGenSampling
from lightning_artv.systems.videogen.stage import Cascade, Stage
from lightning_artv.systems.videogen.system import Base


class VideoGen(VideoModel):
    """All of VideoGen, or as much of it as there is; it is not trained.

    What the parts have in common, autoencoder and frozen text encoder, is held once.

    Args:
        base: stage 1.
        cascade: the stages above it, in order.
        tsr: temporal super-resolution, if any.
        decoder: a video decoder, if any; without it the image decoder decodes.

    Raises:
        UserError: parts that do not belong together.
    """

    continues = True
    pipeline = "lightning_artv.pipelines.videogen.VideoGenPipeline"

    def __init__(
        self,
        base: Base,
        cascade: Sequence[Cascade] = (),
        tsr: Doubles | None = None,
        decoder: DecodesClips | None = None,
    ) -> None:
        super().__init__()
        _check_stages(base, cascade)
        for part in (*cascade, tsr, decoder):
            _share(base, part)
        self.base, self.cascade = base, nn.ModuleList(cascade)
        self.tsr = tsr
        self.autoencoder = base.autoencoder if decoder is None else decoder.video_autoencoder()
        self.has_decoder = decoder is not None
        self._stages: tuple[Stage, ...] = (base, *cascade)
        given: tuple[object, ...] = (*self._stages, tsr, decoder)
        self._given = tuple(part for part in given if isinstance(part, Trainable))  # no modules
        self.origin = _origin(self._stages)

    @classmethod
    def compose(cls, named: Mapping[str, Trainable]) -> VideoGen:
        """The whole of some parts, in any order.

        Args:
            named: name for messages -> part.

        Raises:
            UserError: one part twice, a gap in the stages, or what is no part of VideoGen.
        """
        found: dict[str, tuple[str, Trainable]] = {}
        for name, part in named.items():
            fits = isinstance(part, Stage) or (part.part == "tsr" and isinstance(part, Doubles))
            if not fits and not (part.part == "decoder" and isinstance(part, DecodesClips)):
                raise UserError(
                    f"'{name}' holds {type(part).__name__}, which is no part of VideoGen: leave it "
                    "out."
                )
            if part.part in found:
                raise UserError(
                    f"'{found[part.part][0]}' and '{name}' are both the part {part.part}: give one."
                )
            found[part.part] = (name, part)
        parts = {kind: part for kind, (_, part) in found.items()}
        base = parts.pop("base", None)
        if not isinstance(base, Base):
            raise UserError("There is no base among the checkpoints: give its checkpoint too.")
        tsr, decoder = parts.pop("tsr", None), parts.pop("decoder", None)
        assert tsr is None or isinstance(tsr, Doubles)
        assert decoder is None or isinstance(decoder, DecodesClips)
        above = [part for part in parts.values() if isinstance(part, Cascade)]
        return cls(base, sorted(above, key=lambda stage: stage.doublings), tsr, decoder)

    def parts(self) -> tuple[Trainable, ...]:
        """Stages, temporal super-resolution, decoder."""
        return self._given

    @property
    def sampling(self) -> VideoGenSampling:
        """The base's defaults, those of the stages above as they were trained with."""
        upper = (self._stages[1:] or self._stages)[0].sampling.upper
        return replace(self.base.sampling, upper=upper)

    @property
    def size_multiple(self) -> int:
        """The base's, as often doubled as there are stages above it."""
        return self.base.size_multiple * 2 ** len(self.cascade)

    @property
    def note(self) -> str:
        """What is missing for the whole of VideoGen."""
        return went_without(self._parts())

    def frame_rate(self, settings: SamplingSettings) -> float | None:
        """The base's, as often doubled as there are passes."""
        assert isinstance(settings, VideoGenSampling)
        return settings.fps * 2 ** passes_of(self._parts(), settings)

    def check(self, request: Request) -> None:
        """See `Generative.check`."""
        settings, size = request.settings, self.origin.size
        stages = getattr(settings, "stages", None) or len(self._stages)
        smaller = 2 ** (len(self._stages) - stages)
        if smaller > 1 and request.size == size:
            raise UserError(
                f"With stages={stages} of {len(self._stages)} frames are smaller: add --size "
                f"{size[0] // smaller}x{size[1] // smaller}."
            )
        request.check(self.base.size_multiple)
        check(self._parts(), request)

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        """See `Generative.frames` and `rollout.py`."""
        return rollout(self._parts(), request, observer)

    def _parts(self) -> Parts:
        return Parts(self._stages, self.autoencoder, self.tsr, self.has_decoder)


def _check_stages(base: Base, cascade: Sequence[Cascade]) -> None:
    """Raises:
    UserError: a gap between the stages, or sizes and lengths that do not follow from each other.
    """
    for place, stage in enumerate(cascade, start=1):
        if stage.doublings != place:
            raise UserError(
                f"There is cascade-{stage.doublings} but no cascade-{place}, which it enlarges: "
                "give its checkpoint too."
            )
        size, small = stage.origin.size, base.origin.size
        if size and small and size != (small[0] * 2**place, small[1] * 2**place):
            raise UserError(
                f"{stage.part} was trained at {size[0]}x{size[1]}, which is not {2**place} times "
                f"the base's {small[0]}x{small[1]}: give stages that belong together."
            )
        mine, theirs = stage.denoiser.clip_frames, base.denoiser.clip_frames
        if mine != theirs:
            raise UserError(
                f"{stage.part} makes clips of {mine} frames and the base of {theirs}: give stages "
                "that belong together."
            )


def _share(base: Base, part: object) -> None:
    """Let a part hold the base's autoencoder and frozen text encoder in the place of its own.

    Raises:
        UserError: they are not the same.
    """
    own = getattr(part, "autoencoder", None)
    if part is None or own is base.autoencoder:
        return
    name = getattr(part, "part", "")
    if not isinstance(own, Autoencoder) or not _are_same(own, base.autoencoder):
        raise UserError(
            f"The part {name} was trained on latents of another autoencoder than the base: give "
            "parts that belong together."
        )
    if not isinstance(part, DecodesClips):
        part.autoencoder = base.autoencoder  # type: ignore[attr-defined]
    text, theirs = getattr(part, "text_encoder", None), base.text_encoder
    if not isinstance(part, Stage) or text is None:
        return
    if _are_same(text, theirs):
        part.text_encoder = theirs
    elif not any(p.requires_grad for p in text.parameters()):
        raise UserError(
            f"The part {name} was trained with another text encoder than the base: give parts that "
            "belong together."
        )


def _are_same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules are of one class, as a checkpoint or as a folder has it, and shape with
    equal weights.
    """
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    kinds = [(getattr(m, "factor", None), getattr(m, "channels", None)) for m in (one, other)]
    return (
        (isinstance(one, type(other)) or isinstance(other, type(one)))
        and kinds[0] == kinds[1]
        and mine.keys() == theirs.keys()
        and all(torch.equal(x.cpu(), theirs[name].cpu()) for name, x in mine.items())
    )


def _origin(stages: Sequence[Stage]) -> Origin:
    """Of the last stage's size; described by all."""
    described = json.dumps([stage.origin.description for stage in stages])
    return Origin(stages[-1].origin.size, stages[0].origin.fps, described)
