"""The step `check`: is every file of the shards what it was when it was written, and usable?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from data_prep.engine import Work, map_rows
from data_prep.options import EngineOptions
from data_prep.shards.files import MANIFEST, Shard, finish_shard, read_manifest, write_manifest
from data_prep.shards.transcode import longest_gop
from data_prep.shards.write import STEPS, Plan, stream, write_clip
from data_prep.tables import STATUS, Row, read_rows, sha256, write_rows
from lightning_artv.data.captions import BadCaption, caption_of
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.tar import RawSample, ShardWriter, read_shard, tars_in
from lightning_artv.errors import DataError, UserError
from lightning_artv.files import one_line
from lightning_artv.progress import Progress

_MOST_PROBLEMS = 20
"""Of one shard that are listed."""


@dataclass(frozen=True)
class Damage:
    """A shard that is not as it should be.

    Attributes:
        shard: which.
        problems: one sentence each.
    """

    shard: Shard
    problems: tuple[str, ...]


def check(folder: Path, engine: EngineOptions, quick: bool = False) -> list[Damage]:
    """Verify a folder of shards: size and sha256 of each file and, unless `quick`, that every video
    decodes to its end, keyframes are near enough, captions are text, and tar and table agree.

    Returns:
        the damaged shards; none where all is well.

    Raises:
        DataError: there is no manifest, or it is damaged.
    """
    made_by, shards = read_manifest(folder)
    unlisted = {path.name for path in tars_in(folder)} - {n for s in shards for n in s.files}
    if unlisted:
        raise DataError(
            f"{folder} holds {min(unlisted)}, which its {MANIFEST} does not list; move it away."
        )
    job = CheckShard(folder.resolve(), int(made_by["options"]["gop"]), quick)
    progress = Progress(len(shards), "shard")
    damaged = []
    listing = folder / ".check.parquet"  # the engines work on rows of a table: here, the shards
    rows = [{"shard": json.dumps(shard.to_json())} for shard in shards]
    write_rows(listing, rows, pa.schema([("shard", pa.string())]), {})
    try:
        results = map_rows(job, listing, range(len(shards)), engine)
        for shard, row in zip(shards, results, strict=True):
            problems = [row["error"]] if row["status"] != "ok" else row["problems"]
            if problems:
                damaged.append(Damage(shard, tuple(problems)))
            progress(1)
    finally:
        listing.unlink()
    progress.finish()
    return damaged


def check_and_repair(
    folder: Path, engine: EngineOptions, quick: bool = False, selection: Path | None = None
) -> str:
    """Verify shards, print what is broken and, where their selection is given, repair it.

    Returns:
        how it ended, in words.

    Raises:
        DataError: something is broken, and was not repaired.
    """
    damaged = check(folder, engine, quick)
    for damage in damaged:
        for problem in damage.problems:
            print(f"{damage.shard.name}: {problem}")
    if not damaged:
        return f"The shards in {folder} are as they were written."
    if selection is None:
        raise DataError(
            f"{len(damaged)} of the shards in {folder} are broken; --repair TABLE, with the table "
            "that they were made from, makes them again."
        )
    repair(plan_of(folder, selection), damaged, engine)
    return f"Made {len(damaged)} of the shards in {folder} again."


def plan_of(folder: Path, selection: Path) -> Plan:
    """How the shards of a folder were made, to make some again.

    Raises:
        UserError: from another table than this.
    """
    made_by, _ = read_manifest(folder)
    options = dict(made_by["options"])
    kind = STEPS[made_by["step"]]
    plan = Plan(selection, options.pop("held_out"), kind(**options), folder)
    if plan.made_by() != made_by:
        raise UserError(f"{selection} is not the table that the shards in {folder} were made from.")
    return plan


def repair(plan: Plan, damaged: list[Damage], engine: EngineOptions) -> None:
    """Make damaged shards again, and nothing else.

    Raises:
        DataError: a shard comes out otherwise than before, because a source video or a library
            has changed; the other shards are repaired nevertheless.
    """
    made_by, shards = read_manifest(plan.folder)
    numbers = plan.numbers()
    changed = []
    for damage in damaged:
        old = damage.shard
        new = _make_again(plan, made_by, numbers, old, engine)
        if any(new.files.get(name) != entry for name, entry in old.files.items() if _made(name)):
            changed.append(old.name)
            shards = [new if shard.name == old.name else shard for shard in shards]
    if changed:
        write_manifest(plan.folder, made_by, shards)
        raise DataError(
            f"The shards {', '.join(changed)} were made again but differ from before, since a "
            "source video or a library has changed; the manifest describes them as they are now."
        )


def _make_again(
    plan: Plan, made_by: dict[str, object], numbers: list[int], old: Shard, engine: EngineOptions
) -> Shard:
    last = old.end.video + (old.end.clip > 0)
    rows = []
    clips = stream(plan, numbers[old.first.video : last], old.first, engine)
    with ShardWriter(plan.folder, old.samples + 1, first=int(old.name)) as writer:
        for clip in clips:
            if clip.place >= old.end:
                break
            write_clip(writer, clip)
            rows.append(clip.row)
    clips.close()
    return finish_shard(plan.folder, int(old.name), rows, old.first, old.end, made_by)


def _made(name: str) -> bool:
    """Whether a name is that of the tar or the table; the stats only describe these."""
    return not name.endswith(".json")


@dataclass(frozen=True)
class CheckShard:
    """A `Job`: a shard of the manifest -> its problems."""

    folder: Path
    gop: int
    quick: bool
    batch: int = 1
    schema: pa.Schema = field(
        default_factory=lambda: pa.schema([("problems", pa.list_(pa.string())), *STATUS]),
        compare=False,
    )

    def open(self) -> Work:
        """Nothing to load."""
        return lambda rows: [self._check(row) for row in rows]

    def _check(self, row: Row) -> Row:
        shard = Shard.from_json(json.loads(row["shard"]))
        problems = list(file_problems(self.folder, shard))
        if not problems and not self.quick:
            problems = list(content_problems(self.folder, shard, self.gop))
        return {"status": "ok", "problems": problems[:_MOST_PROBLEMS]}


def file_problems(folder: Path, shard: Shard) -> Iterator[str]:
    """Files that are missing or are not the bytes that were written."""
    for name, (digest, size) in shard.files.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != size:
            yield f"{name} has {path.stat().st_size} bytes instead of {size}"
        elif sha256(path) != digest:
            yield f"{name} has another sha256 than when it was written"


def content_problems(folder: Path, shard: Shard, gop: int) -> Iterator[str]:
    """Samples that could not be trained on, and disagreement of the tar and the table."""
    rows = read_rows(folder / f"{shard.name}.parquet")
    listed = {row["sample"]: row for row in rows if row["status"] == "ok"}
    tar = folder / f"{shard.name}.tar"
    stored = list(read_shard(tar)) if tar.exists() else []
    counts = Counter(sample.key for sample in stored)
    if len(stored) != shard.samples:
        yield f"{tar.name} holds {len(stored)} samples instead of {shard.samples}"
    yield from (f"{key} is in {tar.name} {n} times" for key, n in counts.items() if n > 1)
    yield from (f"{key} is in the table only" for key in listed.keys() - counts.keys())
    for sample in stored:
        if sample.damage:
            yield f"{sample.key}: {sample.damage}" if sample.key else sample.damage
        elif sample.key not in listed:
            yield f"{sample.key} is in the tar only"
        else:
            yield from _sample_problems(sample, listed[sample.key], gop)


def _sample_problems(sample: RawSample, row: Row, gop: int) -> Iterator[str]:
    try:
        if caption_of(sample.files).text != one_line(row["caption"]):
            yield f"{sample.key}: the caption is not the table's"
    except BadCaption as error:
        yield f"{sample.key}: {error}"
    if not row["caption"].strip():
        yield f"{sample.key}: the caption is empty"
    try:
        video = sample.files["mp4"]
        with Video(video) as opened:
            count = len(opened.timestamps)
            for start in range(0, count, _AT_ONCE):
                opened.frames(range(start, min(start + _AT_ONCE, count)), size=_SMALL)
        if count != row["frames"]:
            yield f"{sample.key}: {count} frames instead of {row['frames']}"
        if longest_gop(video) > gop:
            yield f"{sample.key}: {longest_gop(video)} frames between keyframes, above {gop}"
    except KeyError:
        yield f"{sample.key}: there is no mp4"
    except DecodeError as error:
        yield f"{sample.key}: {error}"


_AT_ONCE = 64
_SMALL = (32, 32)
