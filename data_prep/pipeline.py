"""Each step as a function of files and options; `run` and the commands call these."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.engine import EngineOptions
from data_prep.measure.analyse import AnalyseOptions
from data_prep.measure.columns import add_columns
from data_prep.measure.motion_job import Analyse
from data_prep.shards.accounts import HELD_OUT, TRAIN, write_accounts
from data_prep.shards.check import check, plan_of, repair
from data_prep.shards.write import Plan, ShardOptions, write_shards
from data_prep.sources.listing import write_listing
from data_prep.tables import TableReader, made_by
from lightning_artv.errors import DataError

if TYPE_CHECKING:
    from data_prep.measure.clip_score import ClipOptions


def motion_step(
    source: tuple[str, Path, Path | None],
    listing: Path,
    out: Path,
    options: AnalyseOptions,
    engine: EngineOptions,
    overwrite: bool = False,
) -> bool:
    """List a source (kind, path, folder of videos) and analyse its videos."""
    write_listing(*source, listing)
    job = Analyse(options)
    return add_columns(listing, out, job, asdict(options), "motion", engine, overwrite)


def clip_step(
    table: Path, out: Path, options: ClipOptions, engine: EngineOptions, overwrite: bool = False
) -> bool:
    """Score the captions of a table's videos by CLIP."""
    from data_prep.measure.clip_job import (
        Clip,  # here, since it takes seconds to import a model's library
    )

    job = Clip(options)
    return add_columns(table, out, job, asdict(options), "clip", engine, overwrite)


def shards_step(
    selection: Path,
    out: Path,
    options: ShardOptions,
    engine: EngineOptions,
    overwrite: bool = False,
) -> Path:
    """Write the shards of a selection and what became of every video.

    Returns:
        the table of accounts, `out/videos.parquet`.
    """
    write_shards(Plan(selection, False, options, out / TRAIN), engine, overwrite)
    folders = [out / TRAIN]
    if made_by(selection)["options"]["held_out"]:
        write_shards(Plan(selection, True, options, out / HELD_OUT), engine, overwrite)
        folders.append(out / HELD_OUT)
    accounts = out / "videos.parquet"
    write_accounts(selection, folders, accounts)
    return accounts


def check_step(
    folder: Path, engine: EngineOptions, quick: bool = False, selection: Path | None = None
) -> None:
    """Verify shards, print what is broken and, where their selection is given, repair it.

    Raises:
        DataError: something is broken, and was not repaired.
    """
    damaged = check(folder, engine, quick)
    for damage in damaged:
        for problem in damage.problems:
            print(f"{damage.shard.name}: {problem}")
    if not damaged:
        print(f"The shards in {folder} are as they were written.")
    elif selection is None:
        raise DataError(
            f"{len(damaged)} of the shards in {folder} are broken; --repair TABLE, with the table "
            "that they were made from, makes them again."
        )
    else:
        repair(plan_of(folder, selection), damaged, engine)
        print(f"Made {len(damaged)} of the shards in {folder} again.")


def counts(table: Path, column: str) -> str:
    """Such as `20 ok, 4 failed`."""
    numbers = Counter(row[column] for row in TableReader(table, [column]))
    return ", ".join(f"{number} {word}" for word, number in numbers.most_common()) or "no rows"
