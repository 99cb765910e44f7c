"""What version 0.1 wrote is read under today's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lightning_artv.training import earlier
from lightning_artv.training.extends import expand

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
