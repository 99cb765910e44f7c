"""An exception that nobody foresaw, in any video of any step: the run ends, the row says why.

The engines' side of it, workers that die included, is in `test_engine.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prep_videos import make_source, map_here

from data_prep.measure import analyse as analyse_module
from data_prep.measure import clip_score
from data_prep.measure import columns as steps
from data_prep.measure.analyse import Analyse
from data_prep.measure.clip_score import Clip
from data_prep.measure.columns import add_columns
from data_prep.options import (
    AnalyseOptions,
    ClipOptions,
    EngineOptions,
    SelectOptions,
    ShardOptions,
)
from data_prep.report import examples
from data_prep.selection.select import select
from data_prep.shards import check as check_module
from data_prep.shards import folder, latents
from data_prep.shards import write as shards
from data_prep.shards.accounts import totals
from data_prep.shards.check import check
from data_prep.shards.latents import LatentOptions, write_latents
from data_prep.shards.write import write_selection
from data_prep.sources.listing import write_listing
from data_prep.tables import read_rows
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder

ENGINE = EngineOptions(processes=1)
ERRORS = (AttributeError("planted"), MemoryError(), RuntimeError("planted"), KeyError("planted"))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (steps, shards, check_module):
        monkeypatch.setattr(module, "map_rows", map_here)
    return make_source(tmp_path / "source", 4)


def planted(function: Callable[..., Any], error: Exception, name: str = "v02") -> Any:
    """The function, which raises for one video."""

    def raising(first: Any, *others: Any, **options: Any) -> Any:
        if name in str(first):
            raise error
        return function(first, *others, **options)

    return raising


def failed(table: Path) -> dict[str, str]:
    rows = read_rows(table, ["key", "status", "error_kind", "error"])
    assert [row["error_kind"] for row in rows if row["status"] == "failed"] in ([], ["error"])
    return {row["key"]: row["error"] for row in rows if row["status"] == "failed"}


def motion(source: Path, folder: Path) -> Path:
    write_listing("folder", source, None, folder / "listing")
    job = Analyse(AnalyseOptions())
    add_columns(folder / "listing", folder / "motion", job, {}, "motion", ENGINE)
    return folder / "motion"


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_motion(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(analyse_module, "open_video", planted(analyse_module.open_video, error))
    reason = failed(motion(source, tmp_path))
    assert reason.keys() == {"v02"}
    assert reason["v02"].startswith(type(error).__name__)
    assert "test_injected_exceptions.py, line" in reason["v02"]


def test_motion_where_even_the_step_raises(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyse_module, "analyse", planted(analyse_module.analyse, ERRORS[0]))
    assert failed(motion(source, tmp_path)).keys() == {"v02"}


def test_clip(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_folder: Path
) -> None:
    table = motion(source, tmp_path)
    raising = planted(clip_score.even_frames, ERRORS[0])
    monkeypatch.setattr(clip_score, "even_frames", raising)
    job = Clip(ClipOptions(str(clip_folder), device="cpu"))
    add_columns(table, tmp_path / "clip", job, {}, "clip", ENGINE)
    assert failed(tmp_path / "clip").keys() == {"v02"}


@pytest.mark.parametrize("place", ["prepare_clips", "read_source"])
def test_shards_and_their_check(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    select(motion(source, tmp_path), tmp_path / "sel", SelectOptions(None, distance=None))
    monkeypatch.setattr(shards, place, planted(getattr(shards, place), ERRORS[0]))
    options = ShardOptions(samples=2)
    accounts = write_selection(tmp_path / "sel", tmp_path / "out", options, ENGINE, False)
    assert totals(accounts)["failed"].total() == 1
    assert totals(accounts)["kept"].total() == 3
    train = tmp_path / "out" / "train"
    problems = check_module.content_problems

    def raising(folder: Path, shard: Any, gop: int) -> Any:
        return planted(lambda name: problems(folder, shard, gop), ERRORS[0], "00001")(shard.name)

    monkeypatch.setattr(check_module, "content_problems", raising)
    damage = check(train, ENGINE)
    assert [found.shard.name for found in damage] == ["00001"]
    assert "AttributeError: planted" in damage[0].problems[0]


def test_folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "prepare", planted(folder.prepare, ERRORS[0]))
    report = folder.write_folder(source, tmp_path / "out")
    assert [name for name, _ in report.skipped] == ["v02.mp4"]
    assert "AttributeError: planted" in str(report)


def test_latents(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_folder(source, tmp_path / "shards")
    monkeypatch.setattr(latents, "_encode", planted(latents._encode, ERRORS[0], "00000002"))
    options = LatentOptions("none", "0", (32, 48), None)
    report = write_latents(
        tmp_path / "shards", tmp_path / "out", PixelUnshuffleAutoencoder(2), options
    )
    assert report.encoded == 3
    assert [key for key, _ in report.skipped] == ["00000002"]
    kept = json.loads((tmp_path / "out" / latents.RECORD).read_text())
    assert "AttributeError: planted" in json.dumps(kept)


def test_report(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "read_source", planted(examples.read_source, ERRORS[0]))
    assert examples._thumbnail(str(source / "v02.mp4")) == ""
    assert examples._thumbnail(str(source / "v01.mp4")).startswith("data:image")
