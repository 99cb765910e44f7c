"""Shards of made-up videos, written in this process."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from prep_videos import make_source, map_here

from data_prep.options import EngineOptions, SelectOptions, ShardOptions
from data_prep.selection.select import select
from data_prep.shards import check as check_module
from data_prep.shards import write as shards_module
from data_prep.shards.write import Plan, write_shards
from data_prep.sources.listing import LISTING, listing_rows
from data_prep.tables import write_rows

ROOT = Path(__file__).parents[3]
ENGINE = EngineOptions(processes=1)
TABLE = pa.schema([*LISTING, ("cuts", pa.list_(pa.float64()))])


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "map_rows", map_here)
    monkeypatch.setattr(check_module, "map_rows", map_here)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("s") / "in", 9, broken=[4])


def selection(folder: Path, source: Path, cuts: list[float] | None = None, **options) -> Path:
    rows = [{**row, "cuts": cuts} for row in listing_rows("folder", source, None)]
    write_rows(folder / "listed", rows, TABLE, {"step": "motion"})
    select(folder / "listed", folder / "sel", SelectOptions(None, distance=None, **options))
    return folder / "sel"


def write(folder: Path, source: Path, name: str = "out", cuts=None, **options) -> Path:
    plan = Plan(selection(folder, source, cuts), False, ShardOptions(**options), folder / name)
    write_shards(plan, ENGINE)
    return folder / name
