"""`python -m benchmarks` writes each part's table into the document, whatever becomes of others."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import benchmarks.__main__ as bench
from benchmarks.documents import Row, tables_of

DOCUMENT = "# R\n" + "".join(f"<!-- {part} -->\nold\n<!-- /{part} -->\n" for part in bench.PARTS)


def test_parts_are_written_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(DOCUMENT)

    def rows_of(part: str) -> Callable[[], Iterator[Row]]:
        def rows() -> Iterator[Row]:
            assert "ms" in results.read_text() or part == "ema", "the part before was not written"
            yield f"{part}, ms", "1.5"
            if part == "flops":
                raise RuntimeError("no memory")

        return rows

    monkeypatch.setattr(bench, "rows_of", rows_of)
    assert bench.main(["--parts", "ema,flops,loader"], results) == 1
    found = tables_of(results.read_text())
    assert found["flops"] == found["quick"] == "old\n"
    told, table = found["loader"].split("\n\n")
    assert table == "| what | measured |\n|---|---|\n| loader, ms | 1.5 |\n"
    assert told.startswith(f"{datetime.date.today()}, ") and "cores of " in told
    assert told.endswith("`python -m benchmarks.loader`")
    shown = capsys.readouterr()
    assert "loader, ms: 1.5" in shown.out and "no memory" in shown.err


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--parts", "speed"])
    assert "there is no part 'speed'" in capsys.readouterr().err


def test_every_part_has_rows_and_a_place() -> None:
    assert tables_of(bench.RESULTS.read_text()).keys() == set(bench.PARTS)
    for part in bench.PARTS:
        assert callable(import_module(f"benchmarks.{part}").rows)


def test_rows_of_the_demo_s_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import demo_step

    config = yaml.safe_load(demo_step.CONFIG.read_text())
    assert config["data"]["batch_size"] == 32
    config["data"]["batch_size"] = 4
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(demo_step, "CONFIG", tmp_path / "demo.yaml")
    monkeypatch.setattr(demo_step, "STEPS", 1)
    monkeypatch.setattr(demo_step, "CLIPS", 8)
    found = dict(demo_step.rows())
    shares = [float(v[:-1]) for name, v in found.items() if name.startswith("share of ")]
    waits = [v for name, v in found.items() if "waits for the loader" in name]
    assert len(waits) == 3 and len(shares) == 7
    assert sum(shares[:4]) == pytest.approx(100, abs=0.3)
    assert float(found["a step of 4 samples, CPU time, s"]) > 0
