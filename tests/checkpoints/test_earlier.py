"""What version 0.1 wrote is read under today's names."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import yaml

from lightning_artv.checkpoints import earlier
from lightning_artv.training.extends import expand
from lightning_artv.training.resume import changes

NEXT_FRAME = "lightning_artv.systems.artv.windows.NextFrame"

OLD = {
    "class_path": "lightning_artv.systems.artv.ARTV",
    "init_args": {"unet": {"class_path": "x"}, "static_noise": "none", "reference_noise": 0.1},
}
TODAY = {
    "class_path": "lightning_artv.systems.artv.ARTV.build",
    "init_args": {
        "unet": {"class_path": "x"},
        "denoiser": {"static_noise": "none"},
        "training": {"reference_noise": 0.1},
    },
}


def test_settings_go_into_their_groups_and_todays_stay() -> None:
    assert earlier.system_settings(OLD) == TODAY
    assert earlier.system_settings(TODAY) == TODAY
    overlay = {"init_args": {"mask_bias": -1.0, "denoiser": {"use_anchor": False}}}
    moved = {"denoiser": {"use_anchor": False, "mask_bias": -1.0}}
    assert earlier.system_settings(overlay) == {"init_args": moved}
    other = {"class_path": "another.System", "init_args": {"schedule": "x"}}
    assert earlier.system_settings(other) == other


def test_windows_go_into_their_rule_and_todays_stay() -> None:
    old = {"size": 8, "anchor_window": 4, "targets_per_window": 2}
    rule = {"class_path": NEXT_FRAME, "init_args": {"anchor_window": 4, "targets": 2}}
    assert earlier.data_settings(old) == {"size": 8, "windows": rule}
    assert earlier.run_settings({"data": old, "seed": 1}) == {
        "data": {"size": 8, "windows": rule},
        "seed": 1,
    }
    mixed = {"windows": {"init_args": {"targets": 3}}, "start_probability": 0.5}
    moved = {"init_args": {"targets": 3, "start_probability": 0.5}}
    assert earlier.data_settings(mixed) == {"windows": moved}
    assert earlier.data_settings({"windows": "a.Rule", "anchor_window": 4}) == {
        "windows": {"class_path": "a.Rule", "init_args": {"anchor_window": 4}}
    }
    assert earlier.data_settings({"windows": None, "fps": 8}) == {"windows": None, "fps": 8}


def test_a_resumed_run_knows_the_windows_that_version_01_recorded() -> None:
    recorded = {"anchor_window": 10, "start_probability": 0.1, "targets_per_window": 1, "fps": 8}
    today = earlier.data_settings({**recorded, "anchor_window": 4})
    stored = {"system": OLD, "run": {"data": recorded}}
    now = {"system": TODAY, "run": {"data": today}}
    assert changes(stored, now) == "data.windows.init_args.anchor_window 4 (was 10)"


@pytest.mark.parametrize("value", [["=0.5"], ["", "0.5"]])
def test_an_old_option_of_the_windows_is_read_and_says_its_new_name(value: list[str]) -> None:
    words = [f"--data.start_probability{value[0]}", *value[1:]]
    with pytest.warns(UserWarning) as said:
        read = expand(words)
    option = f"--data.windows.init_args.start_probability{value[0]}"
    assert read == [f"--data.windows={NEXT_FRAME}", option, *value[1:]]
    assert [str(warning.message) for warning in said] == [
        "The command line uses names that the next release refuses: data.start_probability is now "
        "data.windows.init_args.start_probability."
    ]


def test_a_file_says_the_new_names_of_all_its_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump({"model": {"system": OLD}, "data": {"targets_per_window": 2}}))
    with pytest.warns(UserWarning) as said:
        expand(["--config", str(path)])
    (warning,) = said
    assert str(warning.message).startswith(f"The configuration file {path} uses names that")
    assert "static_noise is now model.system.init_args.denoiser.static_noise" in str(
        warning.message
    )
    assert "data.targets_per_window is now data.windows.init_args.targets" in str(warning.message)
    path.write_text(yaml.safe_dump({"model": {"system": TODAY}, "data": {"windows": None}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert expand(["--config", str(path)]) == ["--config", str(path)]


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("--model.system.init_args.mask_bias=-1", "--model.system.init_args.denoiser.mask_bias=-1"),
        ("--model.system.own_references", "--model.system.init_args.training.own_references"),
        (
            "--model.system=lightning_artv.systems.artv.ARTV",
            f"--model.system={TODAY['class_path']}",
        ),
        ("--model.system.init_args.unet.init_args.heads=2", None),
        ("--model.system.init_args.denoiser.mask_bias=-1", None),
        ("--model.lr=1", None),
    ],
)
def test_options_of_the_command_line(old: str, today: str | None) -> None:
    assert expand([old]) == [today or old]


def test_a_file_and_what_it_extends(tmp_path: Path) -> None:
    base, top = tmp_path / "base.yaml", tmp_path / "top.yaml"
    base.write_text(yaml.safe_dump({"model": {"system": OLD, "lr": 0.1}}))
    top.write_text("extends: base.yaml\ndata: {size: 8}\n")
    _, read, _, kept, _ = expand(["--config", str(top)])
    assert yaml.safe_load(read) == {"model": {"system": TODAY, "lr": 0.1}}
    assert kept == str(top)
