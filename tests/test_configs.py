"""Every file in configs/ is valid and its system and data module can be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_artv.cli import main
from lightning_artv.training.command import VideoCLI, run

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def _overrides(config: Path, sd_folder: Path, shards: Path, out: Path) -> list[str]:
    options = [f"--data.train={shards}", f"--data.val={shards}"]
    options += [f"--trainer.default_root_dir={out}", "--trainer.accelerator=cpu"]
    options += ["--trainer.fast_dev_run=true", "--data.num_workers=0"]
    if "PretrainedUNet" in config.read_text():
        options.append(f"--model.system.init_args.unet.init_args.pretrained={sd_folder}")
        options += ["--data.size=32", "--data.batch_size=2"]
    return options


def test_there_are_configs() -> None:
    assert {"artv.yaml", "demo.yaml", "clips.yaml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_config_runs_a_step_of_training_and_validation(
    config: Path, sd_folder: Path, shapes_shards: Path, tmp_path: Path
) -> None:
    arguments = ["fit", "--config", str(config)]
    cli = run(arguments + _overrides(config, sd_folder, shapes_shards, tmp_path))
    assert isinstance(cli, VideoCLI)
    assert cli.trainer.global_step == 1
    assert cli.trainer.callback_metrics["val/loss"].isfinite()


def test_a_missing_stable_diffusion_folder_is_exit_3_and_one_sentence(
    shapes_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ROOT / "configs" / "artv.yaml"
    options = _overrides(config, tmp_path / "nowhere", shapes_shards, tmp_path)
    assert main(["fit", "--config", str(config), *options]) == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "nowhere does not exist" in error and error.count("error:") == 1
