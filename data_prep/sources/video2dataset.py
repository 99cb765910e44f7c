"""video2dataset's shards: `00000.tar` with `key.mp4 key.txt key.json`, beside it `00000.parquet`.

Videos are not copied out: an entry's path is `/data/00000.tar::key.mp4`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.sources.rows import MEMBER, Problem, VideoEntry, key_of
from lightning_artv.data.captions import TEXTS, BadCaption, caption_of, facts_of, no_captions
from lightning_artv.data.members import LATENTS_KEY, Foreign, printable
from lightning_artv.data.tar import RawSample, expand, read_shard


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The samples of every shard in a folder (or of one shard), and what could not be downloaded.

    What a sample is and where its caption is say `lightning_artv.data.members` and `captions`.

    Raises:
        UserError: no such folder or shard, or no shard in it.
        DataError: not one of the samples has a caption.
    """
    silent, usable = "", False
    for shard in expand(path):
        for item in _of_shard(shard):
            yield item
            usable = usable or isinstance(item, VideoEntry)
            if isinstance(item, Problem) and item.kind == "empty_caption":
                silent = silent or f"{shard.name}:{item.key}: {item.reason}"
    if silent and not usable:
        raise no_captions(silent, "videos without text cannot be prepared")


def _of_shard(shard: Path) -> Iterator[VideoEntry | Problem]:
    found: set[str] = set()
    videos: set[str] = set()
    foreign = Foreign()
    for sample in read_shard(shard, TEXTS, foreign):
        yield _entry(shard, sample, videos)
        found.add(sample.key)
    if foreign.count:
        reason = f"{foreign.count} files of the shard belong to no sample"
        yield Problem(printable(foreign.example), str(shard), "bad_row", reason)
    yield from _not_downloaded(shard.with_suffix(".parquet"), found)


def _entry(shard: Path, sample: RawSample, videos: set[str]) -> VideoEntry | Problem:
    """A sample as an entry; `videos` are the names in the shard so far."""
    if not sample.key:
        return Problem(shard.name, str(shard), "damaged_shard", sample.damage)
    if sample.damage:
        return Problem(printable(sample.key), str(shard), "bad_row", sample.damage)
    if sample.content == LATENTS_KEY:
        reason = "it holds latents: give the shards of videos that they were made of"
        return Problem(printable(sample.key), str(shard), "bad_row", reason)
    if sample.name in videos:
        return Problem(
            printable(sample.key), str(shard), "duplicate_key", "its shard has its video twice"
        )
    videos.add(sample.name)
    try:
        caption = caption_of(sample.files)
    except BadCaption as error:
        return Problem(printable(sample.key), str(shard), "not_utf8", str(error))
    if not caption.text:
        return Problem(printable(sample.key), str(shard), "empty_caption", caption.reason)
    return VideoEntry(
        key=key_of(sample.key),
        path=f"{shard}{MEMBER}{sample.name}",
        caption=caption.text,
        duration=_seconds((facts_of(sample.files) or {}).get("duration")),
    )


def _seconds(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None


def _not_downloaded(table: Path, found: set[str]) -> Iterator[Problem]:
    """The rows of a shard's table that are not in the shard, with video2dataset's reason."""
    if not table.is_file():
        return
    try:
        with pq.ParquetFile(table) as file:
            names = [n for n in ("key", "status", "error_message") if n in file.schema_arrow.names]
            rows = file.read(columns=names).to_pylist() if "key" in names else []
    except (pa.ArrowException, OSError) as error:
        yield Problem(table.name, str(table), "damaged_shard", f"the table is damaged ({error})")
        return
    known = found | {key.rpartition("/")[2] for key in found}
    plain = {key.lstrip("0") for key in known}  # as pandas saves keys: numbers
    for row in rows:
        key = str(row["key"])
        if key not in known and not (isinstance(row["key"], int) and key.lstrip("0") in plain):
            yield _absent(table, key, row)


def _absent(table: Path, key: str, row: dict[str, Any]) -> Problem:
    """A row of a shard's table that the shard has not."""
    shard = str(table.with_suffix(".tar"))
    status = row.get("error_message") or row.get("status") or "no reason given"
    if row.get("status") in (None, "success"):
        reason = (
            f"{table.name} lists it but its shard does not have it: the table is of other shards "
            "too, or the shard was cut down"
        )
        return Problem(key, shard, "missing_file", reason)
    reason = f"video2dataset could not fetch it ({status})"
    return Problem(key, shard, "not_downloaded", reason)
