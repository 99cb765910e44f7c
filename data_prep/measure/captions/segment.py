"""The step `segment`: long videos cut into pieces that are about their label, a row each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.engine import Work
from data_prep.measure.captions.pieces import KEPT, Part, parts_of, pieces_of, shown_at
from data_prep.measure.captions.prompts import Prompts, label_of, load_prompts
from data_prep.measure.columns import add_columns
from data_prep.options import EngineOptions
from data_prep.options.captions import SegmentOptions
from data_prep.sources.frames import frames_by
from data_prep.sources.listing import entry_of
from data_prep.tables import STATUS, Row, TableReader, TableWriter, sha256
from data_prep.tables.provenance import is_done
from lightning_artv.errors import UserError

_PIECE = [
    pa.field("start", pa.float64()),  # seconds since the video's first frame
    pa.field("end", pa.float64()),
    pa.field("verdict", pa.string()),  # kept | irrelevant | too_short
    pa.field("why", pa.string()),
]
_NEW = [pa.field("video", pa.string()), *_PIECE[:2]]
_OF_THE_WHOLE = ("phash", "clip_score", "clip_frames", "frames", "size_bytes")
"""Columns about the whole video that say nothing of a piece."""

_AT_A_TIME = 16
"""Frames in memory."""


@dataclass(frozen=True)
class Segment:
    """A `Job`: a row's pieces, a video a call; the models stay in the process."""

    options: SegmentOptions
    batch: int = 1
    schema: pa.Schema = field(
        default_factory=lambda: pa.schema([("pieces", pa.list_(pa.struct(_PIECE))), *STATUS]),
        compare=False,
    )

    def open(self) -> Work:
        """Load the models, if there are any.

        Raises:
            MissingWeightsError, CorruptWeightsError, UserError: they cannot be.
        """
        judge = Judge(self.options, load_prompts(self.options.prompts))
        return lambda rows: [self._one(row, judge) for row in rows]

    def _one(self, row: Row, judge: Judge) -> Row:
        parts = parts_of(row["duration"], row["cuts"] or [], self.options.interval)
        verdicts = judge(row, parts)
        pieces = []
        kinds = [verdict for verdict, _ in verdicts]
        for piece in pieces_of(parts, kinds, self.options.min_seconds):
            why = verdicts[piece.parts[0]][1]
            if piece.verdict == "too_short":
                length, least = piece.end - piece.start, self.options.min_seconds
                why = f"it lasts {length:.2f} s, below {least:g} s"
            found = {"start": piece.start, "end": piece.end, "verdict": piece.verdict, "why": why}
            pieces.append(found)
        return {"status": "ok", "pieces": pieces}


class Judge:
    """Whether parts of a video are about its label, by CLIP, by a model that is asked, or both.

    Raises:
        MissingWeightsError, CorruptWeightsError, UserError: a model cannot be loaded.
    """

    def __init__(self, options: SegmentOptions, prompts: Prompts) -> None:
        self.options = options
        self._clip: Any = None
        self._model: Any = None
        if options.clip is not None:
            from data_prep.measure.clip_score import ClipScorer
            from data_prep.options import ClipOptions

            self._clip = ClipScorer(ClipOptions(options.clip, device=options.device))
        if options.ask is not None:
            from data_prep.measure.captions.model import Answerer

            self._model = Answerer(options.ask, options)
            self._question = prompts.relevance["chat" if self._model.chats else "plain"]

    def __call__(self, row: Row, parts: Sequence[Part]) -> list[tuple[str, str]]:
        """(`KEPT` or `irrelevant`, why it is dropped) of each part."""
        if self._clip is None and self._model is None:
            return [(KEPT, "")] * len(parts)
        entry, label = replace(entry_of(row), start=None, end=None), label_of(row)
        batches = frames_by(entry, lambda times: shown_at(times, parts), _AT_A_TIME)
        return [verdict for frames in batches for verdict in self._judge(frames, label)]

    def _judge(self, frames: Any, label: str) -> Iterator[tuple[str, str]]:
        least = self.options.threshold
        scores = [least] * len(frames)
        if self._clip is not None:
            scores = self._clip.against(frames, f"a video of {label}")
        for frame, score in zip(frames, scores, strict=True):
            if score < least:
                yield "irrelevant", f"CLIP finds little of {label!r} in it, below {least:g}"
            elif self._model and self._denies(frame, label):
                yield "irrelevant", f"the model finds nothing of {label!r} in it"
            else:
                yield KEPT, ""

    def _denies(self, frame: Any, label: str) -> bool:
        answer = self._model.answer(frame[None], self._question.format(label=label), 5)
        return re.match(r"\W*no\b", answer, re.IGNORECASE) is not None


def write_segments(
    table: Path, out: Path, options: SegmentOptions, engine: EngineOptions, overwrite: bool = False
) -> str:
    """Write a row for each piece of the videos of a table: those that are kept, and as failed ones
    those that are not; rows that had failed before are copied.

    Returns:
        what became of the seconds, in words.

    Raises:
        UserError: a table without cuts, or of pieces; what `add_columns` raises.
    """
    names = {*TableReader(table).schema.names}
    if "video" in names:
        raise UserError(f"{table} is of the step segment already; give the table that it read.")
    absent = {"cuts", "duration"} - names
    if absent:
        raise UserError(f"{table} has no column {min(absent)}; run the step motion first.")
    videos = out.with_name(out.stem + ".videos.parquet")
    made_of = {**asdict(options), "prompts": load_prompts(options.prompts).digest}
    add_columns(table, videos, Segment(options), made_of, "segment", engine, overwrite)
    made_by = {"step": "segment", "options": made_of, "input": sha256(videos)}
    if not is_done(out, made_by, overwrite):
        with TableWriter(out, _schema(TableReader(videos).schema), made_by) as writer:
            writer.write(piece for row in TableReader(videos) for piece in _rows(row))
    return _seconds(out)


def _schema(videos: pa.Schema) -> pa.Schema:
    """The table's columns, where each piece lies in its video, and the status."""
    names = {"pieces", *(f.name for f in (*_NEW, *STATUS))}
    return pa.schema([*(f for f in videos if f.name not in names), *_NEW, *STATUS])


def _rows(row: Row) -> Iterator[Row]:
    """The pieces of a video as rows of their own; one that failed stays one row."""
    pieces = row.pop("pieces")
    if row["status"] != "ok":
        yield row
        return
    for number, piece in enumerate(pieces):
        start, end = piece["start"], piece["end"]
        here = {"key": f"{row['key']}-{number:04d}", "video": row["key"]}
        here |= {"start": start, "end": end, "duration": end - start, "cuts": []}
        if piece["verdict"] != KEPT:
            here |= {"status": "failed", "error_kind": piece["verdict"], "error": piece["why"]}
        yield {**{n: v for n, v in row.items() if n not in _OF_THE_WHOLE}, **here}


def _seconds(out: Path) -> str:
    columns = ["start", "end", "status", "error_kind"]
    total: Counter[str] = Counter()
    for row in TableReader(out, columns):
        if row["end"] is not None:
            total[row["error_kind"] or KEPT] += row["end"] - row["start"]
    kinds = [KEPT, *sorted(total.keys() - {KEPT})]
    return ", ".join(f"{total[kind]:.1f} s {kind.replace('_', ' ')}" for kind in kinds)
