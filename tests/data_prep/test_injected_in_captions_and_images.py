"""An exception that nobody foresaw, in one video of the steps `caption`, `segment`, `images`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prep_videos import make_source, map_here
from test_injected_exceptions import ERRORS, failed, motion, planted

from data_prep.measure import columns
from data_prep.measure.captions import caption, model, segment
from data_prep.measure.captions.caption import write_captions
from data_prep.measure.captions.segment import Judge, write_segments
from data_prep.options import EngineOptions
from data_prep.options.captions import CaptionOptions, SegmentOptions
from data_prep.options.images import ImageOptions
from data_prep.shards import pseudo, write
from data_prep.shards.accounts import totals
from data_prep.shards.pseudo import write_listed
from data_prep.shards.write import write_selection
from data_prep.sources.listing import write_listing
from data_prep.tables import read_rows

ENGINE = EngineOptions(processes=1)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (columns, write):
        monkeypatch.setattr(module, "map_rows", map_here)
    return make_source(tmp_path / "source", 4)


def fail_at_third_call(module: ModuleType, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a function of a module raise at its third of four calls."""
    calls, whole = iter(range(4)), getattr(module, place)

    def raising(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise ERRORS[0]
        return whole(*arguments)

    monkeypatch.setattr(module, place, raising)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_captions_from_templates(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write_listing("folder", source, None, tmp_path / "listing")
    monkeypatch.setattr(caption, "random_of", planted(caption.random_of, error))
    write_captions(tmp_path / "listing", tmp_path / "out", CaptionOptions(), ENGINE)
    reason = failed(tmp_path / "out")
    assert reason.keys() == {"v02"} and reason["v02"].startswith(type(error).__name__)


class Speaks:
    """A model that says the same of everything."""

    chats, name = False, "speaks 0"

    def __init__(self, *_: object) -> None:
        pass

    def answer(self, *_: object) -> str:
        return "words"


@pytest.mark.parametrize("place", ["frames_of", "drawn"])
def test_captions_from_a_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write_listing("folder", source, None, tmp_path / "listing")
    monkeypatch.setattr(model, "Answerer", Speaks)
    fail_at_third_call(caption, place, monkeypatch)
    options = CaptionOptions(captioner="speaks", frames=1)
    write_captions(tmp_path / "listing", tmp_path / "out", options, ENGINE)
    assert failed(tmp_path / "out").keys() == {"v02"}
    captions = [row["caption"] for row in read_rows(tmp_path / "out", ["caption"])]
    assert captions.count("words") == 3


def test_segments(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = motion(source, tmp_path)
    judged = Judge.__call__

    def raising(judge: Judge, row: Any, parts: Any) -> Any:
        return planted(lambda key: judged(judge, row, parts), ERRORS[0])(row["key"])

    monkeypatch.setattr(segment.Judge, "__call__", raising)
    options = SegmentOptions(min_seconds=0.1)
    write_segments(table, tmp_path / "out.parquet", options, ENGINE)
    rows = read_rows(tmp_path / "out.parquet", ["key", "video", "status", "error"])
    assert [row["key"] for row in rows if row["status"] == "failed"] == ["v02"]
    assert "AttributeError: planted" in next(r["error"] for r in rows if r["key"] == "v02")
    assert {row["video"] for row in rows if row["status"] == "ok"} == {"v00", "v01", "v03"}


@pytest.mark.parametrize("place", ["open_picture", "encode"])
def test_images(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for number in range(4):
        Image.fromarray(noise).save(pictures / f"v{number:02d}.png")
    names = "".join(f"v{number:02d}.png,a picture\n" for number in range(4))
    (pictures / "metadata.csv").write_text(f"file_name,text\n{names}")
    fail_at_third_call(pseudo, place, monkeypatch)
    (tmp_path / "out").mkdir()
    selected = write_listed(pictures, tmp_path / "out", 0.0)
    options = ImageOptions(size=32, samples=4)
    accounts = write_selection(selected, tmp_path / "out", options, ENGINE, False)
    assert totals(accounts)["failed"].total() == 1
    assert totals(accounts)["kept"].total() == 3
