"""The step `shards`: kept videos as WebDataset shards, small and with near keyframes.

Videos are encoded in parallel; one writer puts them into shards in the table's order. So the bytes
depend on the table and the options only, and a killed run goes on after its last finished shard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep import tables
from data_prep.engine import Job, Work, map_rows
from data_prep.engine.failure import failure
from data_prep.options import EngineOptions, Packing, ShardOptions
from data_prep.options.images import ImageOptions
from data_prep.options.shards import MOST_SAMPLES
from data_prep.shards.accounts import HELD_OUT, TRAIN, write_accounts
from data_prep.shards.files import (
    MANIFEST,
    Place,
    Shard,
    finish_shard,
    finished_shards,
    remove_shards,
    write_manifest,
)
from data_prep.shards.pseudo import CLIPS, Animate
from data_prep.shards.transcode import prepare_clips
from data_prep.sources.files import read_source
from data_prep.sources.rows import Span
from data_prep.tables import STATUS, Row, TableReader, sha256
from data_prep.tables.log import note
from data_prep.tables.provenance import MARK, claim, is_claimed, sweep
from lightning_artv.data.decode import DecodeError
from lightning_artv.data.tar import ShardWriter, tars_in
from lightning_artv.errors import UserError
from lightning_artv.progress import Progress

STEPS: dict[str, type[Any]] = {"shards": ShardOptions, "images": ImageOptions}
"""The steps that write shards, and their options."""


@dataclass(frozen=True)
class Encode:
    """A `Job`: a row's video -> `clips`, each an mp4 and JSON with its facts."""

    options: ShardOptions
    batch: int = 1
    schema: pa.Schema = field(
        default_factory=lambda: pa.schema([("clips", CLIPS), *STATUS]), compare=False
    )

    def open(self) -> Work:
        """Nothing to load."""
        return lambda rows: [self._clips(row) for row in rows]

    def _clips(self, row: Row) -> Row:
        cuts = (row.get("cuts") or []) if self.options.cut else []
        try:
            source = read_source(row["path"])
            span = Span(row.get("start") or 0.0, row.get("end"))
            clips = prepare_clips(source, self.options, cuts, self.options.min_seconds, span)
        except DecodeError as error:
            kind, reason = failure(error)
            return {"status": "failed", "error_kind": kind, "error": reason}
        if not clips:
            reason = f"no scene lasts {self.options.min_seconds:g} s"
            return {"status": "failed", "error_kind": "too_short", "error": reason}
        found = [
            {
                "video": clip.video,
                "meta": json.dumps({**clip.meta, "start": clip.start, "copied": clip.copied}),
            }
            for clip in clips
        ]
        return {"status": "ok", "clips": found}


@dataclass(frozen=True)
class Plan:
    """Which videos or pictures go into a folder of shards, and how.

    Attributes:
        selection: the table of `data_prep.selection.select`.
        held_out: whether these are the held-out rows or the others.
        options: options of the step; their class says which of `STEPS` it is.
        folder: folder to write.
    """

    selection: Path
    held_out: bool
    options: ShardOptions | ImageOptions
    folder: Path

    @property
    def step(self) -> str:
        """Its name."""
        return next(name for name, kind in STEPS.items() if type(self.options) is kind)

    @property
    def job(self) -> Job:
        """What makes a row's clips."""
        options = self.options
        return Animate(options) if isinstance(options, ImageOptions) else Encode(options)

    @property
    def is_cut(self) -> bool:
        """Whether a row gives several clips."""
        return isinstance(self.options, ShardOptions) and self.options.cut

    def made_by(self) -> dict[str, Any]:
        """What is kept in the shards to tell whether they are these."""
        options = {**asdict(self.options), "held_out": self.held_out}
        return {"step": self.step, "options": options, "input": sha256(self.selection)}

    def numbers(self) -> list[int]:
        """The rows of the kept videos."""
        names = TableReader(self.selection).schema.names
        if not {"decision", "held_out"} <= {*names}:
            raise UserError(f"{self.selection} is no selection: run `python -m data_prep select`.")
        reader = TableReader(self.selection, ["decision", "held_out"])
        rows = enumerate(reader)
        return [
            number
            for number, row in rows
            if row["decision"] == "kept" and row["held_out"] == self.held_out
        ]


def write_selection(
    selection: Path,
    out: Path,
    options: ShardOptions | ImageOptions,
    engine: EngineOptions,
    overwrite: bool = False,
) -> Path:
    """Write the shards of a selection, and what became of every video.

    Returns:
        the table of accounts, `out/videos.parquet`.
    """
    folders = [out / TRAIN]
    write_shards(Plan(selection, False, options, out / TRAIN), engine, overwrite)
    if tables.made_by(selection)["options"]["held_out"]:
        folders.append(out / HELD_OUT)
        write_shards(Plan(selection, True, options, out / HELD_OUT), engine, overwrite)
    accounts = out / "videos.parquet"
    write_accounts(selection, folders, accounts)
    return accounts


def write_shards(plan: Plan, engine: EngineOptions, overwrite: bool = False) -> bool:
    """Write the shards of a plan; what an interrupted run finished stays.

    Returns:
        whether there was anything to do.

    Raises:
        UserError: the folder holds shards that were made otherwise.
    """
    sweep(plan.folder)
    sweep(plan.folder.parent)
    made_by = plan.made_by()
    done = _resumed(plan.folder, made_by, overwrite)
    if done is None:
        return False
    started = time.monotonic()
    numbers = plan.numbers()
    at = done[-1].end if done else Place()
    unit = "image" if plan.step == "images" else "video"
    progress = Progress(len(numbers), unit, at.video)
    clips = stream(plan, numbers[at.video :], at, engine)
    shards = [*done, *_write(plan, made_by, clips, len(done), at, progress)]
    progress.finish()
    write_manifest(plan.folder, made_by, shards)
    seconds = time.monotonic() - started
    note(plan.folder, plan.step, unit, len(numbers) - at.video, seconds, engine)
    return True


def _resumed(folder: Path, made_by: Mapping[str, Any], overwrite: bool) -> list[Shard] | None:
    """The finished shards to go on after; None where all is done."""
    if is_claimed(folder, made_by, overwrite):
        return None if (folder / MANIFEST).is_file() else list(finished_shards(folder))
    if (folder / MARK).is_file():
        remove_shards(folder)
    foreign = tars_in(folder) if folder.is_dir() else []
    if foreign:
        raise UserError(
            f"{folder} holds {foreign[0].name} of another origin; choose another folder."
        )
    claim(folder, made_by)
    return []


@dataclass(frozen=True)
class Clip:
    """What comes to the writer: a clip to store, or a video's failure (no bytes).

    Attributes:
        place: of it.
        after: of what comes next.
        row: of `SAMPLES`.
        video: the mp4, or None.
        meta: content of `key.json`.
    """

    place: Place
    after: Place
    row: Row
    video: bytes | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def stream(
    plan: Plan, numbers: list[int], first: Place, engine: EngineOptions
) -> Generator[Clip, None, None]:
    """The clips of videos, in order, from the place `first` on; `numbers` begin at its video."""
    reader = TableReader(plan.selection)
    results = map_rows(plan.job, plan.selection, numbers, engine)
    for position, (number, result) in enumerate(zip(numbers, results, strict=True), first.video):
        row = {name: reader.row(number).get(name) for name in SOURCE_COLUMNS}
        clips = result.get("clips") or []
        if not clips:
            why = {name: result.get(name) for name in ("status", "error_kind", "error")}
            yield Clip(Place(position, 0), Place(position + 1, 0), {**row, **why})
        for index, clip in enumerate(clips):
            last = index + 1 == len(clips)
            after = Place(position + 1, 0) if last else Place(position, index + 1)
            if Place(position, index) >= first:
                meta = {**json.loads(clip["meta"]), "source": row["key"]}
                sample = f"{row['key']}-{index:04d}" if plan.is_cut else row["key"]
                facts = {name: meta[name] for name in CLIP_FACTS}
                facts |= {"sample": sample, "size_bytes": len(clip["video"]), "status": "ok"}
                yield Clip(Place(position, index), after, {**row, **facts}, clip["video"], meta)


SOURCE_COLUMNS = ("key", "path", "caption", "motion", "clip_score")
CLIP_FACTS = ("start", "width", "height", "fps", "frames", "duration", "copied")


def _write(
    plan: Plan,
    made_by: Mapping[str, Any],
    clips: Iterator[Clip],
    number: int,
    first: Place,
    progress: Progress,
) -> Iterator[Shard]:
    """Fill shard after shard."""
    upcoming = next(clips, None)
    while upcoming is not None:
        rows: list[Row] = []
        size = 0
        end = first
        with ShardWriter(plan.folder, MOST_SAMPLES, first=number) as writer:
            while upcoming is not None and not _full(plan.options, writer.count, size):
                write_clip(writer, upcoming)
                rows.append(upcoming.row)
                size += len(upcoming.video or b"")
                progress(upcoming.after.video - end.video)
                end, upcoming = upcoming.after, next(clips, None)
        yield finish_shard(plan.folder, number, rows, first, end, made_by)
        number, first = number + 1, end


def _full(options: Packing, samples: int, size: int) -> bool:
    if options.megabytes is not None:
        return size >= options.megabytes * 1e6 or samples >= MOST_SAMPLES
    return samples >= options.samples


def write_clip(writer: ShardWriter, clip: Clip) -> None:
    """Store a clip, if there is one."""
    if clip.video is not None:
        writer.write(clip.row["sample"], clip.video, clip.row["caption"], clip.meta)
