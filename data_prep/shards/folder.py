"""`python -m data_prep folder`: a folder of captioned videos as shards."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from data_prep.sources.files import failure
from data_prep.sources.metadata import Entry, read_metadata
from data_prep.shards.output import building
from data_prep.shards.transcode import Limits, Prepared, prepare
from lightning_artv.data.members import VIDEO_KEYS
from lightning_artv.data.tar import ShardWriter
from lightning_artv.errors import DataError, UserError
from lightning_artv.names import find_file
from lightning_artv.progress import Progress

__all__ = ["Limits", "Report", "write_folder"]


@dataclass(frozen=True)
class Report:
    """What became of the listed videos.

    Attributes:
        out: where the shards are.
        shards: how many there are.
        copied: videos stored byte for byte.
        encoded: videos stored as new H.264.
        skipped: (file name, reason) of the others.
        unlisted: videos in the folder that its metadata does not list.
        lossy: (file name, how many frames could not be decoded) of those stored without some.
    """

    out: Path
    shards: int
    copied: int
    encoded: int
    skipped: tuple[tuple[str, str], ...]
    unlisted: tuple[str, ...] = ()
    lossy: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        lines = [
            f"Wrote {self.copied + self.encoded} videos ({self.copied} copied, {self.encoded} "
            f"re-encoded) in {self.shards} {_plural('shard', self.shards)} to {self.out}."
        ]
        if self.skipped:
            lines.append(f"Skipped {len(self.skipped)}:")
            lines.extend(f"  {name}: {reason}" for name, reason in self.skipped)
        if self.unlisted:
            lines.append(f"Left out {len(self.unlisted)} that the metadata does not list:")
            lines.extend(f"  {name}" for name in self.unlisted)
        if self.lossy:
            lines.append(f"Stored without the frames that cannot be decoded {len(self.lossy)}:")
            lines.extend(f"  {name}: {count} of its frames lost" for name, count in self.lossy)
        return "\n".join(lines)


def write_folder(
    source: Path,
    out: Path,
    limits: Limits | None = None,
    samples_per_shard: int = 1000,
    skip_missing: bool = False,
    allow_empty_captions: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write the videos that `source/metadata.csv` (or `.jsonl`, `.parquet`, ...) lists, with their
    captions, as shards.

    `key.json` holds width, height, fps, frames, duration (seconds) and the source's file name.
    Unreadable videos are skipped and reported.

    Raises:
        UserError: metadata that cannot be used (see `read_metadata`), a listed file that is
            missing, or an `out` that cannot be used.
        DataError: not one video could be used.
    """
    entries = read_metadata(source, allow_empty_captions)
    found = [(entry, find_file(source, entry.file_name)) for entry in entries]
    present = [(entry, path) for entry, path in found if path is not None]
    missing = [entry for entry, path in found if path is None]
    if missing and not skip_missing:
        raise UserError(
            f"The metadata of {source} lists {missing[0].file_name} (line {missing[0].line}), "
            f"which does not exist{_others(len(missing) - 1)}; add the file, or --skip-missing."
        )
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"The shards cannot replace {source}, their source; choose another folder.")
    skipped = [(entry.file_name, "the file does not exist") for entry in missing]
    kinds: list[bool] = []
    lossy: list[tuple[str, int]] = []
    progress = Progress(len(present), "video")
    with building(out, overwrite) as folder:
        with ShardWriter(folder, samples_per_shard) as writer:
            for entry, path in present:
                prepared = _prepare(path, entry, limits or Limits(), skipped)
                if prepared is not None:
                    kinds.append(prepared.copied)
                    if "lost" in prepared.meta:
                        lossy.append((entry.file_name, prepared.meta["lost"]))
                    meta = {**prepared.meta, "source": entry.file_name}
                    writer.write(f"{len(kinds) - 1:08d}", prepared.video, entry.text, meta)
                progress(1)
        progress.finish()
        if not kinds:
            name, reason = skipped[0]
            raise DataError(
                f"None of the {len(entries)} videos of {source} can be used "
                f"({name}: {reason}), so nothing was written."
            )
    unlisted = _unlisted(source, {path for _, path in present})
    copied = sum(kinds)
    return Report(
        out,
        len(writer.shards),
        copied,
        len(kinds) - copied,
        tuple(skipped),
        unlisted,
        tuple(lossy),
    )


def _unlisted(source: Path, listed: Collection[Path]) -> tuple[str, ...]:
    """The videos of a folder that its metadata does not list."""
    videos = (path for path in source.rglob("[!.]*") if path.suffix[1:].lower() in VIDEO_KEYS)
    return tuple(str(p.relative_to(source)) for p in sorted(videos) if p not in listed)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _others(count: int) -> str:
    return f", and {count} more that do not exist" if count else ""


def _prepare(
    path: Path, entry: Entry, limits: Limits, skipped: list[tuple[str, str]]
) -> Prepared | None:
    try:
        return prepare(path, limits)
    except Exception as error:  # whatever it is: the other videos are to be written
        skipped.append((entry.file_name, failure(error)[1]))
        return None
