"""`python -m data_prep folder`: a folder of captioned videos as shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.metadata import Entry, read_metadata
from data_prep.output import building
from data_prep.transcode import Limits, Prepared, prepare
from lightning_artv.data.decode import DecodeError
from lightning_artv.data.tar import ShardWriter
from lightning_artv.errors import DataError, UserError
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
    """

    out: Path
    shards: int
    copied: int
    encoded: int
    skipped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [
            f"Wrote {self.copied + self.encoded} videos ({self.copied} copied, {self.encoded} "
            f"re-encoded) in {self.shards} {_plural('shard', self.shards)} to {self.out}."
        ]
        if self.skipped:
            lines.append(f"Skipped {len(self.skipped)}:")
            lines.extend(f"  {name}: {reason}" for name, reason in self.skipped)
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
    """Write the videos that `source/metadata.csv` (or `.jsonl`) lists, with their captions, as
    shards.

    `key.json` holds width, height, fps, frames, duration (seconds) and the source's file name.
    Unreadable videos are skipped and reported.

    Raises:
        UserError: metadata that cannot be used (see `read_metadata`), a listed file that is
            missing, or an `out` that cannot be used.
        DataError: not one video could be used.
    """
    entries = read_metadata(source, allow_empty_captions)
    present, missing = _present(source, entries)
    if missing and not skip_missing:
        raise UserError(
            f"The metadata of {source} lists {missing[0].file_name} (line {missing[0].line}), "
            f"which does not exist{_others(len(missing) - 1)}; add the file, or --skip-missing."
        )
    if source.resolve().is_relative_to(out.resolve()):
        raise UserError(f"The shards cannot replace {source}, their source; choose another folder.")
    skipped = [(entry.file_name, "the file does not exist") for entry in missing]
    kinds: list[bool] = []
    progress = Progress(len(present), "video")
    with building(out, overwrite) as folder:
        with ShardWriter(folder, samples_per_shard) as writer:
            for entry in present:
                prepared = _prepare(source, entry, limits or Limits(), skipped)
                if prepared is not None:
                    kinds.append(prepared.copied)
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
    return Report(out, len(writer.shards), sum(kinds), len(kinds) - sum(kinds), tuple(skipped))


def _present(source: Path, entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    present = [entry for entry in entries if (source / entry.file_name).is_file()]
    return present, [entry for entry in entries if entry not in present]


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _others(count: int) -> str:
    return f", and {count} more that do not exist" if count else ""


def _prepare(
    source: Path, entry: Entry, limits: Limits, skipped: list[tuple[str, str]]
) -> Prepared | None:
    try:
        return prepare(source / entry.file_name, limits)
    except DecodeError as error:
        skipped.append((entry.file_name, str(error)))
        return None
