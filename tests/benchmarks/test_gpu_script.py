"""`python -m benchmarks.gpu --tiny`: what it measures on a CPU, and what becomes of the rest."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, gpu_parts


def run(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    out = tmp_path / "gpu.json"
    code = gpu.main(["--tiny", "--out", str(out), *arguments])
    return code, json.loads(out.read_text())


def test_every_part_that_a_cpu_can_run_is_measured(tmp_path: Path) -> None:
    code, found = run(tmp_path, "--parts", "count,train,optimizer,vae,waits,loader")
    assert code == 0 and found["ended"].startswith("done")
    assert {error["error"] for error in found["errors"]} == {"RuntimeError: needs CUDA"}
    assert {error["part"] for error in found["errors"]} == {"waits"}
    rows = {(row["part"], row["name"]): row for row in found["rows"]}
    exact, fast = (rows["count", f"frame, {kind}"]["tflop"] for kind in ("exact", "fast"))
    assert exact > 0 and fast > 0
    assert rows["train", "eager, batch 2"]["samples_s"] > 0
    assert rows["loader", "latent shards, 1 workers"]["samples_s"] > 0
    assert {part for part, _ in rows} == {"count", "train", "optimizer", "vae", "loader"}
    assert found["about"]["tiny"] is True


def test_a_part_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def parts(part: str, tiny: bool) -> Iterator[gpu_parts.Measurement]:
        if part == "vae":
            raise OSError("no room")
        yield "good", lambda: {"ms": 1.23456}
        yield "bad", lambda: {"ms": 1 / 0}
        yield "after", lambda: {"ms": 2.0}

    monkeypatch.setattr(gpu_parts, "measurements", parts)
    code, found = run(tmp_path, "--parts", "vae,train")
    assert code == 0
    assert [row["name"] for row in found["rows"]] == ["good", "after"]
    assert found["rows"][0]["ms"] == 1.235
    assert [(e["part"], e["error"]) for e in found["errors"]] == [
        ("vae", "OSError: no room"),
        ("train", "ZeroDivisionError: division by zero"),
    ]
    assert "not measured: ZeroDivisionError" in capsys.readouterr().out


def test_nothing_begins_when_the_time_is_over(tmp_path: Path) -> None:
    code, found = run(tmp_path, "--parts", "vae", "--seconds", "-1")
    assert code == 1 and not found["rows"]
    assert {error["error"] for error in found["errors"]} == {"no time was left"}


def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    for name, code in (("diffusers", 2), ("av", 1)):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda asked, name=name: None if asked == name else there(asked),
        )
        monkeypatch.setattr(gpu_parts, "measurements", lambda *_: iter(()))
        assert gpu.main(["--tiny", "--out", str(tmp_path / "a.json"), "--parts", "vae"]) == code
        assert f"missing: {name}" in capsys.readouterr().err


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["--parts", "speed"])
    assert "there is no part 'speed'" in capsys.readouterr().err
