"""`python -m data_prep folder`: a folder of captioned videos as shards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.engine.failure import failure
from data_prep.options import FolderOptions, Limits
from data_prep.shards.output import building
from data_prep.shards.transcode import Prepared, prepare
from data_prep.sources.folder import Entry, read_metadata
from lightning_artv.data.members import VIDEO_KEYS
from lightning_artv.data.tar import ShardWriter
from lightning_artv.errors import DataError, UserError
from lightning_artv.names import find_file
from lightning_artv.progress import Progress


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
    options: FolderOptions | None = None,
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
    options = options or FolderOptions()
    entries = read_metadata(source, options.allow_empty_captions)
    present = _present(source, entries, options.skip_missing)
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"The shards cannot replace {source}, their source; choose another folder.")
    skipped = [(e.file_name, "the file does not exist") for e in entries if e not in present]
    with building(out, overwrite) as folder:
        shards, stored = _write(folder, present, options, skipped)
        if not stored:
            name, reason = skipped[0]
            raise DataError(
                f"None of the {len(entries)} videos of {source} can be used "
                f"({name}: {reason}), so nothing was written."
            )
    copied = sum(copied for _, copied, _ in stored)
    unlisted = _unlisted(source, set(present.values()))
    lossy = tuple((name, lost) for name, _, lost in stored if lost is not None)
    return Report(out, shards, copied, len(stored) - copied, tuple(skipped), unlisted, lossy)


def _present(source: Path, entries: Sequence[Entry], skip_missing: bool) -> dict[Entry, Path]:
    """The files of the entries that have one."""
    found = {entry: find_file(source, entry.file_name) for entry in entries}
    missing = [entry for entry, path in found.items() if path is None]
    if missing and not skip_missing:
        raise UserError(
            f"The metadata of {source} lists {missing[0].file_name} (line {missing[0].line}), "
            f"which does not exist{_others(len(missing) - 1)}; add the file, or --skip-missing."
        )
    return {entry: path for entry, path in found.items() if path is not None}


def _write(
    folder: Path,
    present: Mapping[Entry, Path],
    options: FolderOptions,
    skipped: list[tuple[str, str]],
) -> tuple[int, list[tuple[str, bool, int | None]]]:
    """How many shards there are; (file name, whether copied, lost frames) of what is in them."""
    limits = Limits(options.size, options.fps)
    stored: list[tuple[str, bool, int | None]] = []
    progress = Progress(len(present), "video")
    with ShardWriter(folder, options.shard_size) as writer:
        for entry, path in present.items():
            prepared = _prepare(path, entry, limits, skipped)
            if prepared is not None:
                meta = {**prepared.meta, "source": entry.file_name}
                writer.write(f"{len(stored):08d}", prepared.video, entry.text, meta)
                stored.append((entry.file_name, prepared.copied, meta.get("lost")))
            progress(1)
    progress.finish()
    return len(writer.shards), stored


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
