"""How well captions fit their videos: CLIP's text-frame similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from data_prep.engine import Work
from data_prep.engine.failure import failure
from data_prep.measure.columns import add_columns
from data_prep.options import ClipOptions, EngineOptions
from data_prep.sources.frames import even_frames
from data_prep.sources.listing import entry_of
from data_prep.sources.rows import VideoEntry
from data_prep.tables import columns_of
from lightning_artv.errors import UserError
from lightning_artv.networks.clip import CLIP


@dataclass(frozen=True)
class ClipScore:
    """The columns that a `ClipScorer` fills; the last three are None in a failed row.

    Attributes:
        status: `ok` or `failed`.
        error_kind: one of `engine.failure.ERROR_KINDS`, or None.
        error: the reason in words, or None.
        clip_score: mean over frames of the cosine between frame and caption, in [-1, 1].
        clip_frames: how many frames.
        clip_model: the model's name and the start of its weights' sha256.
    """

    status: str
    error_kind: str | None = None
    error: str | None = None
    clip_score: float | None = None
    clip_frames: int | None = None
    clip_model: str | None = None


@dataclass(frozen=True)
class Clip:
    """A `Job`: CLIP scores, a batch of videos a call; the model stays in the process."""

    options: ClipOptions
    batch: int = 32
    schema: pa.Schema = field(default_factory=lambda: pa.schema(columns_of(ClipScore)))

    def open(self) -> Work:
        """Load the model.

        Raises:
            MissingWeightsError, CorruptWeightsError: it cannot be.
        """
        scorer = ClipScorer(self.options)
        return lambda rows: scorer([entry_of(row) for row in rows])


def score_captions(
    table: Path, out: Path, options: ClipOptions, engine: EngineOptions, overwrite: bool = False
) -> bool:
    """Score the captions of a table's videos by CLIP, see `add_columns`."""
    return add_columns(table, out, Clip(options), asdict(options), "clip", engine, overwrite)


class ClipScorer:
    """Loads a CLIP once and scores lists of videos with it.

    Frames of one size are embedded together, whichever video they are of. On a CPU it takes one
    thread of PyTorch (the engine runs a process per core), so that the same list gives the same
    bits however many processes there are.

    Raises:
        MissingWeightsError: the model is not there.
        CorruptWeightsError: its files are damaged.
        UserError: a device that this machine lacks.
    """

    def __init__(self, options: ClipOptions) -> None:
        self.options = options
        self.device = device_of(options.device)
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        self._clip = CLIP(options.pretrained, options.revision).to(self.device)
        self._model = f"{Path(options.pretrained).name} sha256:{self._clip.sha256[:12]}"

    def __call__(self, entries: Sequence[VideoEntry]) -> list[dict[str, Any]]:
        """One row of `ClipScore` columns per entry, in their order; a bad video is a failed row."""
        group = max(1, self.options.batch_size // self.options.frames)  # decoded at a time
        rows: list[ClipScore] = []
        for start in range(0, len(entries), group):
            rows += self._rows(entries[start : start + group])
        return [dict(vars(row)) for row in rows]

    def against(self, frames: Tensor, text: str) -> list[float]:
        """Cosine of each frame, uint8 `[N, 3, H, W]`, and a text, in [-1, 1]."""
        cosines: list[float] = (self._clip.images(frames) @ self._clip.texts([text])[0]).tolist()
        return cosines

    def _rows(self, entries: Sequence[VideoEntry]) -> list[ClipScore]:
        failed: dict[int, ClipScore] = {}
        clips: dict[int, Tensor] = {}
        for index, entry in enumerate(entries):
            try:
                clips[index] = even_frames(entry, self.options.frames)
            except Exception as error:  # the batch's other videos are to be scored
                failed[index] = ClipScore("failed", *failure(error))
        scores = self._scores(clips, [entry.caption for entry in entries])
        rows = failed | {
            index: ClipScore("ok", None, None, score, len(clips[index]), self._model)
            for index, score in scores.items()
        }
        return [rows[index] for index in range(len(entries))]

    def _scores(self, clips: dict[int, Tensor], captions: Sequence[str]) -> dict[int, float]:
        """Mean cosine of each clip, uint8 `[N, 3, H, W]`, and the caption of the same index."""
        if not clips:
            return {}
        texts = dict(zip(clips, self._clip.texts([captions[i] for i in clips]), strict=True))
        sums = dict.fromkeys(clips, 0.0)
        for batch, owners in _batches(clips, self.options.batch_size):
            images = self._clip.images(batch)
            cosines = (images * torch.stack([texts[owner] for owner in owners])).sum(dim=1)
            for owner, cosine in zip(owners, cosines.tolist(), strict=True):
                sums[owner] += cosine
        return {index: total / len(clips[index]) for index, total in sums.items()}


def _batches(clips: dict[int, Tensor], size: int) -> list[tuple[Tensor, list[int]]]:
    """Frames of one size together: uint8 `[N <= size, 3, H, W]`, and each frame's clip."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, clip in clips.items():
        shapes.setdefault(tuple(clip.shape[1:]), []).append(index)
    batches = []
    for owners in shapes.values():
        frames = torch.cat([clips[owner] for owner in owners])
        names = [owner for owner in owners for _ in clips[owner]]
        for start in range(0, len(frames), size):
            batches.append((frames[start : start + size], names[start : start + size]))
    return batches


def device_of(name: str | None) -> torch.device:
    """The device of that name; None is the best.

    Raises:
        UserError: this machine lacks it.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"This machine has no device {name!r}; name cpu or leave it out."
        ) from error
    return device
