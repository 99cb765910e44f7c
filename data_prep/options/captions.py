"""The options of the steps `caption` and `segment`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_artv.errors import UserError, check_number, check_whole

TEMPLATE = "template"
"""The captioner without a model."""


@dataclass(frozen=True)
class AskOptions:
    """Which model is asked.

    Attributes:
        revision: revision of the hub id.
        dtype: numbers that the model computes with.
        device: device such as cpu or cuda:0; by default the GPU where there is one.
        prompts: YAML file of sentences in place of data_prep/measure/captions/prompts.yaml.
        seed: seed of the frames and sentences drawn, together with each video's key.
    """

    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str | None = None
    prompts: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16"):
            raise UserError(f"--dtype is float32 or bfloat16, not {self.dtype!r}.")


@dataclass(frozen=True)
class CaptionOptions(AskOptions):
    """How videos get captions.

    Attributes:
        captioner: folder or hub id of any image-text-to-text model of transformers; `template`
            writes sentences around the label and needs no model.
        frames: frames that a model with a chat template sees, each from a random place of an equal
            part of the video; others see one.
        max_tokens: tokens that a caption may have.
    """

    captioner: str = TEMPLATE
    frames: int = 1
    max_tokens: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("--frames", self.frames, 1, 64)
        check_whole("--max-tokens", self.max_tokens, 1, 4096)


@dataclass(frozen=True)
class SegmentOptions(AskOptions):
    """Where videos are cut.

    Attributes:
        clip: folder or hub id of a CLIP: parts that show the label less than `threshold` are cut
            out.
        threshold: cosine of a frame and the label, in [-1, 1], that is kept.
        ask: folder or hub id of a model that is asked, see `caption`: parts that it says no to are
            cut out.
        interval: seconds that one frame speaks for, nearly; a shot is divided into equal parts.
        min_seconds: seconds that a segment has to last.
    """

    clip: str | None = None
    threshold: float = 0.2
    ask: str | None = None
    interval: float = 1.0
    min_seconds: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("--threshold", self.threshold, -1, 1)
        check_number("--min-seconds", self.min_seconds, 0)
        check_number("--interval", self.interval, 0.05)
