"""How a number was measured, field by field, and a hash that says whether two numbers compare."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_artv.errors import UserError
from lightning_artv.files import parse_yaml

DATASETS = ("ucf101", "msrvtt", "webvid", "folder")
METRICS = ("fvd", "kvd", "is", "fid", "clipsim", "flicker", "drift", "motion")
CHOICES: dict[str, tuple[str, ...]] = {
    "dataset": DATASETS,
    "sampling": ("stratified", "random"),
    "prompts": ("class-sentence", "caption"),
    "caption_rule": ("prompt", "all"),
    "real_clip": ("start", "centre", "random"),
    "fake_clip": ("start", "centre", "random"),
    "fit": ("cover-and-crop",),
    "resize": ("stretch", "crop"),
    "division": ("averaged", "once"),
}
DESCRIBING = ("name", "source", "assumed", "metrics")
"""Fields that change no number: not part of the hash."""
ADDED = {"division": "averaged"}
"""Fields that came later -> what was measured before; at that value they leave a hash as it was."""


@dataclass(frozen=True)
class Protocol:
    """Everything that moves a number.

    Attributes:
        name: name of the preset; a `*` behind it says that a field was changed.
        source: who measures like this.
        dataset: layout of the real set: `ucf101`, `msrvtt`, `webvid` (csv), `folder` (any videos).
        split: `all`, or the set's own name of a part, such as `train01` or `test`.
        real_count: number of real videos; None for all of the split.
        sampling: way of sampling of real videos (and of fakes, where a folder holds too many):
            `stratified` by class in the split's proportions, or `random`.
        fake_count: number of generated videos.
        prompts: what is generated from: a sentence for each class, in the class proportions of the
            split, or the real videos' own captions.
        captions_per_video: generated videos for each real one, each from a caption of its own.
        caption_rule: CLIPSIM compares a video with the `prompt` that it was made from, or with
            `all` its captions (their mean).
        frames: number of frames of a clip.
        stride: source frames from one frame of a clip to the next.
        fps: frame rate that real videos are resampled to first; None for their own.
        real_clip, fake_clip: where in a longer video the clip is: `start`, `centre`, `random`.
        resolution: pixels; every clip is brought to resolution × resolution.
        fit: how: scaled to cover the square (bilinear, antialiased), cropped at the centre.
        resize: way from there to I3D's 224: `stretch`, or `crop` at the centre.
        antialias: whether that resize filters.
        eps: epsilon of I3D's batch normalisation.
        ddof: covariances of FVD and FID over N - ddof.
        splits: parts that the Inception Score is computed in.
        division: how videos are divided into these: `averaged` over 20 random divisions, or `once`:
            shuffled once with the seed and cut, as torch-fidelity does it.
        clip_model: model of CLIPSIM.
        fid_skip: leading frames that FID and the curves leave out: the first may be given.
        seed: seed of the sampling of videos and clips, and of generation (video i uses seed + i).
        metrics: what is measured.
        assumed: field -> why it was set to this where the source is silent.

    Raises:
        UserError: a value that makes no sense, in one sentence.
    """

    name: str
    source: str
    dataset: str
    split: str = "all"
    real_count: int | None = 2048
    sampling: str = "stratified"
    fake_count: int = 2048
    prompts: str = "class-sentence"
    captions_per_video: int = 1
    caption_rule: str = "prompt"
    frames: int = 16
    stride: int = 1
    fps: float | None = None
    real_clip: str = "random"
    fake_clip: str = "start"
    resolution: int = 256
    fit: str = "cover-and-crop"
    resize: str = "stretch"
    antialias: bool = False
    eps: float = 1e-3
    ddof: int = 1
    splits: int = 10
    division: str = "averaged"
    clip_model: str = "openai/clip-vit-base-patch32"
    fid_skip: int = 1
    seed: int = 0
    metrics: tuple[str, ...] = METRICS
    assumed: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )
        for name in ("fake_count", "captions_per_video", "frames", "stride", "resolution"):
            _check_number(name, getattr(self, name), 1)
        if self.real_count is not None:
            _check_number("real_count", self.real_count, 1)
        for name, least in (("ddof", 0), ("splits", 1), ("fid_skip", 0), ("seed", 0)):
            _check_number(name, getattr(self, name), least)
        if self.fps is not None and not self.fps > 0:
            raise UserError(f"fps must be above 0, or null for every frame, got {self.fps}.")
        unknown = [name for name in self.metrics if name not in METRICS]
        if unknown or not self.metrics:
            raise UserError(
                f"metrics must be some of {', '.join(METRICS)}, got {', '.join(self.metrics)!r}."
            )

    def settings(self) -> dict[str, Any]:
        """What is hashed, as plain data."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name not in DESCRIBING and (name, value) not in ADDED.items()
        }

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON of `settings`, 64 hex digits."""
        return settings_hash(self.settings())

    def with_changes(self, changes: Sequence[str]) -> Protocol:
        """A protocol with fields changed by `name=value` (YAML values), its name marked with `*`.

        `count=8` sets `real_count` and `fake_count`.

        Raises:
            UserError: no such field, or a value of the wrong type.
        """
        values: dict[str, Any] = {}
        for change in changes:
            name, value = _parse(change)
            values.update(
                {"real_count": value, "fake_count": value} if name == "count" else {name: value}
            )
        changed = dataclasses.replace(self, **{k: _typed(k, v) for k, v in values.items()})
        if changed.settings() == self.settings():
            return changed
        assumed = {k: why for k, why in self.assumed.items() if k not in values}
        return dataclasses.replace(changed, name=f"{self.name.rstrip('*')}*", assumed=assumed)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """The hash of a protocol's settings, as `Protocol.hash` and result files have it."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "bool": (bool,),
}


CHANGEABLE = (
    "count",
    *(f.name for f in dataclasses.fields(Protocol) if f.name not in ("name", "source", "assumed")),
)
"""What `--set` may name of a protocol."""


def _parse(change: str) -> tuple[str, Any]:
    name, equals, text = change.partition("=")
    if not equals or name not in CHANGEABLE:
        raise UserError(
            f"--set takes field=value with one of {', '.join(CHANGEABLE)}; got '{change}'."
        )
    try:
        return name, parse_yaml(text)
    except ValueError as error:
        raise UserError(f"--set {name}: '{text}' is not a value that YAML knows.") from error


def _typed(name: str, value: Any) -> Any:
    """`value` as the field holds it; YAML reads 1e-5 as text and a single name as no list."""
    if name == "metrics":
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise UserError(f"metrics takes a list such as fvd,is, got {value!r}.")
        return tuple(name.strip() for name in names)
    annotation = str(Protocol.__dataclass_fields__[name].type)
    types = _TYPES[annotation]
    if float in types and isinstance(value, str) and _is_number(value):
        value = float(value)
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise UserError(f"{name} takes {annotation.replace('None', 'null')}, got {value!r}.")
    return float(value) if float in types and isinstance(value, int) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_number(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{name} must be at least {least}, got {value}.")
