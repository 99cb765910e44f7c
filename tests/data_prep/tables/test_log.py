"""The sessions beside an output: a damaged file loses them with a warning, and ends no run."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.options import EngineOptions
from data_prep.tables.log import log_path, note, read_log


def test_sessions_are_added(tmp_path: Path) -> None:
    out = tmp_path / "motion.parquet"
    assert read_log(out) == []
    for count in (3, 4):
        note(out, "motion", "videos", count, 1.0, EngineOptions())
    assert [session["count"] for session in read_log(out)] == [3, 4]


@pytest.mark.parametrize("content", ["", "[1, 2", "{}", "[1]", "[" * 100_000, "\udcff"])
def test_a_damaged_log_is_begun_anew(tmp_path: Path, content: str) -> None:
    out = tmp_path / "motion.parquet"
    log_path(out).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.warns(UserWarning, match=r"motion\.log\.json.*It is begun anew"):
        note(out, "motion", "videos", 3, 1.0, EngineOptions())
    assert [session["count"] for session in read_log(out)] == [3]
