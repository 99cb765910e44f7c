"""video2dataset's shards: `00000.tar` with `key.mp4 key.txt key.json`, beside it `00000.parquet`.

Videos are not copied out: an entry's path is `/data/00000.tar::key.mp4`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.rows import MEMBER, Problem, VideoEntry, key_of
from data_prep.sources.checks import printable
from lightning_artv.data.tar import VIDEO_KEYS, expand, is_complete


@dataclass
class _Sample:
    """What a shard has of one key; the video is not read."""

    key: str
    video: str = ""
    texts: dict[str, bytes] = field(default_factory=dict)


def listed(path: Path) -> Iterator[VideoEntry | Problem]:
    """The samples of every shard in a folder (or of one shard), and what could not be downloaded.

    The caption is `key.txt`, or without one the `caption` of `key.json`.

    Raises:
        UserError: no such folder or shard, or no shard in it.
    """
    for shard in expand(path):
        found: set[str] = set()
        for sample in _samples(shard):
            if isinstance(sample, Problem):
                yield sample
                continue
            found.add(sample.key)
            yield _entry(shard, sample)
        yield from _not_downloaded(shard.with_suffix(".parquet"), found)


def _samples(shard: Path) -> Iterator[_Sample | Problem]:
    """Consecutive files with one key, as WebDataset groups them."""
    current: _Sample | None = None
    try:
        with tarfile.open(shard, "r:") as tar:
            for info in tar:
                folder, slash, file = info.name.rpartition("/")
                stem, _, extension = file.partition(".")
                key = folder + slash + stem
                if not info.isfile():
                    continue
                if current is None or key != current.key:
                    if current is not None:
                        yield current
                    current = _Sample(key)
                if extension.lower() in VIDEO_KEYS:
                    current.video = info.name
                elif extension in ("txt", "json"):
                    stream = tar.extractfile(info)
                    current.texts[extension] = stream.read() if stream is not None else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Problem(shard.name, str(shard), "damaged_shard", f"the shard is damaged ({error})")
        return  # its last sample may be incomplete
    if not is_complete(shard):
        yield Problem(shard.name, str(shard), "damaged_shard", "the end of the shard is missing")
    elif current is not None:
        yield current


def _entry(shard: Path, sample: _Sample) -> VideoEntry | Problem:
    facts = _facts(sample)
    if not sample.video:
        return Problem(sample.key, str(shard), "bad_row", "the sample has no video")
    given = facts.get("caption")
    text = sample.texts.get("txt")
    caption = (
        text.decode("utf-8", "surrogateescape")
        if text is not None
        else (given if isinstance(given, str) else "")
    )
    seconds = facts.get("duration")
    return VideoEntry(
        key=key_of(sample.key),
        path=f"{shard}{MEMBER}{sample.video}",
        caption=caption,
        duration=float(seconds) if isinstance(seconds, int | float) else None,
    )


def _facts(sample: _Sample) -> dict[str, Any]:
    try:
        facts = json.loads(sample.texts.get("json", b"{}"))
    except (ValueError, RecursionError):
        return {}  # only a caption or a duration could have been in it: an entry shows their lack
    return facts if isinstance(facts, dict) else {}


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
    for row in rows:
        key = str(row["key"])
        if key not in found:
            status = row.get("error_message") or row.get("status") or "no reason given"
            reason = f"it is not in its shard ({printable(str(status))})"
            yield Problem(key, str(table.with_suffix(".tar")), "not_downloaded", reason)
