"""Selection: windows, the best by CLIP, duplicates, the held-out share; each row has a verdict."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.options import SelectOptions
from data_prep.selection.select import is_held_out, select
from data_prep.sources.listing import LISTING
from data_prep.tables import read_rows, write_rows
from lightning_artv.errors import DataError, UserError

SCHEMA = pa.schema(
    [
        *LISTING,
        ("motion", pa.float64()),
        ("clip_score", pa.float64()),
        ("brightness", pa.int64()),
        ("phash", pa.string()),
    ]
)
PLAIN = {"path": "p", "caption": "c", "status": "ok", "motion": 5.0, "clip_score": 0.2}
FAR = [f"{random.Random(i).getrandbits(192):048x}" for i in range(30)]


def table(path: Path, rows: list[dict]) -> Path:
    plain = [{"key": f"v{i}", "phash": FAR[i % 30], **PLAIN, **row} for i, row in enumerate(rows)]
    write_rows(path, plain, SCHEMA, {"step": "clip"})
    return path


def verdicts(folder: Path, rows: list[dict], **options) -> list[tuple[str, str | None]]:
    select(table(folder / "in", rows), folder / "out", SelectOptions(**options))
    return [(row["decision"], row["reason"]) for row in read_rows(folder / "out")]


KEPT = ("kept", None)


def test_the_papers_window_is_the_default_and_inclusive(tmp_path: Path) -> None:
    rows = [{"motion": m} for m in (0.999, 1.0, 20.0, 20.001, None)]
    assert verdicts(tmp_path, rows) == [
        ("filtered", "motion below 1"),
        KEPT,
        KEPT,
        ("filtered", "motion above 20"),
        ("filtered", "motion unknown"),
    ]
    assert verdicts(tmp_path, rows, motion=None) == [KEPT] * 5
    assert verdicts(tmp_path, rows, motion=(None, 1.0))[1] == KEPT


def test_the_best_by_clip_come_from_what_is_left(tmp_path: Path) -> None:
    scores = [(0.9, 50), (0.5, 5), (0.3, 5), (0.5, 5), (0.1, 5), (None, 5)]
    rows = [{"clip_score": c, "motion": float(m)} for c, m in scores]
    late = ("filtered", "clip_score not among the best")
    expected = [("filtered", "motion above 20"), KEPT, late, KEPT, late]
    assert verdicts(tmp_path, rows, count=2) == [*expected, ("filtered", "clip_score unknown")]
    assert verdicts(tmp_path, rows, share=0.5)[:5] == expected
    assert verdicts(tmp_path, rows, count=1)[3] == late  # of equal ones the first stays
    assert verdicts(tmp_path, rows, count=99).count(KEPT) == 4


def test_of_many_equal_scores_the_first_stay(tmp_path: Path) -> None:
    found = verdicts(tmp_path, [{}] * 300, count=100, distance=None)
    assert [verdict == KEPT for verdict in found] == [True] * 100 + [False] * 200


def test_failures_keep_their_kind_and_filters_take_any_number(tmp_path: Path) -> None:
    rows = [
        {"status": "failed", "error_kind": "truncated", "motion": None},
        {"brightness": 10},
        {"brightness": 9},
        {"brightness": None},
    ]
    assert verdicts(tmp_path, rows, filters={"brightness": (10, None)}) == [
        ("failed", "truncated"),
        KEPT,
        ("filtered", "brightness below 10"),
        ("filtered", "brightness unknown"),
    ]


def test_of_duplicates_the_best_by_clip_stays(tmp_path: Path) -> None:
    near = f"{int(FAR[0], 16) ^ 0b111:048x}"
    rows = [
        {"clip_score": 0.1},
        {"clip_score": 0.4, "phash": near},
        {"clip_score": 0.9, "phash": FAR[0], "motion": 99.0},  # out before, so no rival
        {"clip_score": 0.3, "phash": None},
        {"clip_score": 0.2, "phash": FAR[0]},
    ]
    assert verdicts(tmp_path, rows, distance=3) == [
        ("filtered", "duplicate"),
        KEPT,
        ("filtered", "motion above 20"),
        KEPT,
        ("filtered", "duplicate"),
    ]
    assert [r["duplicate_of"] for r in read_rows(tmp_path / "out")] == ["v1", *[None] * 3, "v1"]
    assert verdicts(tmp_path, rows, distance=2).count(KEPT) == 3
    assert verdicts(tmp_path, rows, distance=None).count(KEPT) == 4
    assert verdicts(tmp_path, rows, distance=3, count=2).count(KEPT) == 2


def test_columns_and_order_stay_and_a_done_selection_is_not_repeated(tmp_path: Path) -> None:
    rows = [{"caption": 'a, "b"\nжё', "motion": float(m)} for m in (0, 3, 40)]
    source = table(tmp_path / "in", rows)
    assert select(source, tmp_path / "out", SelectOptions())
    found = read_rows(tmp_path / "out")
    assert [{name: row[name] for name in SCHEMA.names} for row in found] == read_rows(source)
    assert not select(source, tmp_path / "out", SelectOptions())
    assert select(source, tmp_path / "out", SelectOptions(motion=None))  # quick: simply done again


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_a_larger_held_out_share_holds_the_smaller(key: str, one: float, two: float) -> None:
    small, large = sorted((one, two))
    assert is_held_out(key, large) or not is_held_out(key, small)


def test_the_held_out_share_is_as_large_as_asked_for_and_never_moves(tmp_path: Path) -> None:
    keys = [f"video-{i}" for i in range(20_000)]
    share = sum(is_held_out(key, 0.1) for key in keys) / len(keys)
    assert share == pytest.approx(0.1, abs=0.01)  # 4.7 standard deviations
    assert [key for key in keys[:60] if is_held_out(key, 0.1)] == [
        f"video-{number}" for number in (10, 13, 27, 31, 39, 41, 44, 59)
    ]
    rows = [{"motion": 5.0} for _ in range(40)]
    verdicts(tmp_path, rows[:20], held_out=0.3, distance=None)
    before = {r["key"]: r["held_out"] for r in read_rows(tmp_path / "out")}
    verdicts(tmp_path, rows, held_out=0.3, distance=None)
    after = {r["key"]: r["held_out"] for r in read_rows(tmp_path / "out")}
    assert before.items() <= after.items()
    assert 0 < sum(after.values()) < 40


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 1, "share": 0.5}, "either count or share"),
        ({"count": 0}, "count"),
        ({"share": 0.0}, "share"),
        ({"held_out": 1.0}, "held_out"),
        ({"motion": (3.0, 1.0)}, "window of motion is empty"),
    ],
)
def test_impossible_options_are_refused(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        SelectOptions(**options)


def test_missing_and_unusable_columns_are_one_sentence(tmp_path: Path) -> None:
    source = table(tmp_path / "in", [{}])
    for filters, words in (
        ({"nonsense": (1, 2)}, "no column nonsense"),
        ({"path": (1, 2)}, "path"),
    ):
        with pytest.raises(UserError, match=words):
            select(source, tmp_path / "out", SelectOptions(filters=filters))
    source = table(tmp_path / "in", [{"phash": "00"}, {}])
    with pytest.raises(DataError, match="digits"):
        select(source, tmp_path / "out", SelectOptions(distance=3))
    assert not (tmp_path / "out").exists()


def test_an_empty_table_selects_nothing(tmp_path: Path) -> None:
    assert verdicts(tmp_path, [], count=3) == []
