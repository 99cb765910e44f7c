"""Old paths of configuration files are read under their new ones, and the new ones are said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from lightning_artv.cli import main
from lightning_artv.errors import UserError
from lightning_artv.training import renamed as names
from lightning_artv.training.extends import chain

ROOT = Path(__file__).parents[2]
TRAIN = "configs/artv/train.yaml"


@pytest.fixture(autouse=True)
def said_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names._say.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("configs/artv.yaml", [TRAIN]),
        ("configs/demo.yaml", ["configs/artv/demo.yaml"]),
        ("configs/shapes.yaml", ["configs/artv/worlds.yaml"]),
        ("configs/experiment/clips.yaml", ["configs/artv/clips.yaml"]),
        *(
            (f"configs/experiment/{n}.yaml", [TRAIN, f"configs/hardware/{n}.yaml"])
            for n in names._HARDWARE
        ),
        *(
            (f"configs/ablation/{p.name}", [f"configs/artv/ablation/{p.name}"])
            for p in sorted((ROOT / "configs/artv/ablation").glob("*.yaml"))
        ),
    ],
)
@pytest.mark.parametrize("root", ["", f"{ROOT}/", "tests/../"])
def test_an_old_path_is_its_new_ones(
    old: str, new: list[str], root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = names.renamed(Path(root + old))
    assert found is not None
    assert [path.resolve() for path in found.paths] == [ROOT / path for path in new]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"note: {root}{old} is now ")
    assert " --config ".join(f"{root}{path}" for path in new) in said
    sources = [source.content for source in chain(Path(root + old))]
    assert capsys.readouterr().err == ""  # said once
    expected = [source.content for path in new for source in chain(Path(path))]
    assert sources[: len(expected)] == expected
    folders = [
        {"trainer": {"default_root_dir": f"outputs/artv-{Path(old).stem.replace('_', '-')}"}}
    ]
    assert sources[len(expected) :] == (folders if len(new) > 1 else [])


def test_a_users_file_may_extend_an_old_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: {os.path.relpath(ROOT, tmp_path)}/configs/demo.yaml\n")
    assert [s.path.name for s in chain(mine)] == ["training.yaml", "demo.yaml", "mine.yaml"]


@pytest.mark.parametrize("path", ["configs/gone.yaml", "configs/ablation/gone.yaml", "x/demo.yaml"])
def test_any_other_missing_path_is_the_ordinary_sentence(path: str) -> None:
    assert names.renamed(Path(path)) is None and names.today(Path(path)) == Path(path)
    with pytest.raises(UserError, match=f"{path} does not exist"):
        chain(Path(path))


def test_a_file_that_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/demo.yaml").write_text("mine: 1\n")
    assert [s.content for s in chain(Path("configs/demo.yaml"))] == [{"mine": 1}]


def test_the_command_reads_an_old_path_with_a_callback_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["fit", "--config", "configs/shapes.yaml", "--trainer.callbacks.ema.decay", "0.25"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--print_config"])
    assert not end.value.code
    out, err = capsys.readouterr()
    assert err.count("configs/artv/worlds.yaml") == 1
    ema, *others, checkpoint = yaml.safe_load(out)["trainer"]["callbacks"]
    assert ema["init_args"]["decay"] == 0.25 and ema["init_args"]["warmup"] is True
    assert checkpoint["init_args"]["filename"] == "shapes" and len(others) == 4
