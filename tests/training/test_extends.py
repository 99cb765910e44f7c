"""`extends`: bases before what extends them, and errors of one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_artv.errors import UserError
from lightning_artv.training.extends import expand


def _write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_bases_come_first_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    base = _write(tmp_path / "base.yaml", "a: 1")
    middle = _write(tmp_path / "x" / "middle.yaml", "extends: ../base.yaml")
    top = _write(tmp_path / "x" / "y" / "top.yaml", "extends: ../middle.yaml")
    arguments = expand(["fit", "--a", "2", f"--config={top}", "--b=3"])
    assert arguments[:3] == ["fit", "--a", "2"] and arguments[-2:] == ["--b=3", "--extends=null"]
    files = [Path(a).resolve() for a in arguments[4:9:2]]
    assert files == [Path(p).resolve() for p in (base, middle, top)]
    assert arguments[3:9:2] == ["--config"] * 3


def test_a_config_without_base_is_left_alone(tmp_path: Path) -> None:
    plain = _write(tmp_path / "a.yaml", "a: 1")
    assert expand(["fit", "--config", plain]) == ["fit", "--config", plain]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: a.yaml", "extends itself"),
        ("extends: gone.yaml", "gone.yaml does not exist"),
        ("extends: [b.yaml]", "give the path of one file"),
        ("a: [", "is not YAML"),
    ],
)
def test_bad_bases_are_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path / "a.yaml", text)
    with pytest.raises(UserError, match=message) as error:
        expand(["fit", "--config", path])
    assert "\n" not in str(error.value)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        expand(["fit", "--config", str(tmp_path / "none.yaml")])
