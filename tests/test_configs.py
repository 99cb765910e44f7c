"""Every file in configs/ is valid and its system and data module can be built; what ablations
change is tested in test_ablation_configs.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch.distributed as dist

from lightning_artv.cli import main
from lightning_artv.training.command import VideoCLI, run
from lightning_artv.training.extends import chain

ROOT = Path(__file__).parents[1]
TRAIN = ROOT / "configs" / "artv" / "train.yaml"
DEMO_PICTURES = ROOT / "configs" / "vidrd" / "demo_autoencoder.yaml"
HARDWARE = sorted((ROOT / "configs" / "hardware").glob("*.yaml"))
WHOLE = [
    path
    for system in ("artv", "vidrd", "videogen")
    for path in sorted((ROOT / "configs" / system).glob("*.yaml"))
    if path.stem != "study"
]
TRAINS = [path for path in WHOLE if path.stem == "train"]
CONFIGS = [
    *([path] for path in WHOLE),
    *([train, path] for train in TRAINS for path in HARDWARE),
]


@pytest.fixture(autouse=True)
def no_processes_left() -> Iterator[None]:
    """DDP and FSDP2 leave a process group and its environment variables behind."""
    before = dict(os.environ)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="module")
def pictures(shapes_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a picture autoencoder, for decoders that are trained behind one."""
    folder = tmp_path_factory.mktemp("pictures")
    words = ["fit", f"--config={DEMO_PICTURES}", f"--data.train={shapes_shards}"]
    words += ["--data.val=null", "--data.num_workers=0", f"--trainer.default_root_dir={folder}"]
    assert main([*words, "--trainer.max_steps=1"]) == 0
    return folder / "checkpoints" / "last.ckpt"


def _overrides(configs: list[Path], sd_folder: Path, shards: Path, out: Path) -> list[str]:
    options = [f"--data.train={shards}", f"--data.val={shards}"]
    options += [f"--trainer.default_root_dir={out}", "--trainer.accelerator=cpu"]
    options += ["--trainer.fast_dev_run=true", "--data.num_workers=0"]
    sources = [source.path for config in configs for source in chain(config)]
    bases = {path.name for path in sources}
    for part in ("unet", "autoencoder"):
        named = f"      {part}:\n.*\n        init_args: {{pretrained: sd2-"
        if any(re.search(named, path.read_text()) for path in sources):
            where = f"model.system.init_args.{part}.init_args.pretrained"
            options.append(f"--{where}={sd_folder}")
    if any("stable-diffusion" in path.read_text() for path in sources):
        options += ["--data.size=32", "--data.batch_size=2"]
    if "slurm.yaml" in bases:
        options += ["--trainer.num_nodes=1", "--trainer.devices=1"]
    if find_spec("bitsandbytes") is None:  # tests/training/test_experiments.py says what then
        options.append("--model.optimizer=adamw")
    return options


def test_there_are_configs() -> None:
    names = ("artv", "vidrd", "videogen")
    artv, vidrd, videogen = ([p.stem for p in WHOLE if p.parent.name == name] for name in names)
    assert artv == [
        "ablations",
        "clips",
        "color",
        "demo",
        "distill",
        "shapes",
        "shapes_whole",
        "train",
        "worlds",
        "worlds_long",
    ]
    assert vidrd == [
        "decoder",
        "demo",
        "demo_autoencoder",
        "demo_decoder",
        "demo_images",
        "train",
        "worlds",
    ]
    assert {"decoder", "demo_decoder", "demo_tsr", "tsr"} <= set(videogen)
    assert [path.stem for path in HARDWARE] == ["ddp", "fsdp", "low_memory", "slurm"]


def test_hardware_extends_nothing_and_names_no_run() -> None:
    for path in HARDWARE:
        (source,) = chain(path)
        assert "default_root_dir" not in source.content["trainer"], path


@pytest.mark.parametrize(
    "configs",
    CONFIGS,
    ids=lambda paths: "-".join([paths[0].parent.name, *(path.stem for path in paths)]),
)
def test_config_runs_a_step_of_training_and_validation(
    configs: list[Path],
    sd_folder: Path,
    shapes_shards: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    arguments = ["fit", *(f"--config={config}" for config in configs)]
    if any(config.stem == "demo_decoder" for config in configs):
        where = "--model.system.init_args.autoencoder.init_args.path"
        arguments.append(f"{where}={request.getfixturevalue('pictures')}")
    cli = run(arguments + _overrides(configs, sd_folder, shapes_shards, tmp_path))
    assert isinstance(cli, VideoCLI)
    assert cli.trainer.global_step == 1
    assert cli.trainer.callback_metrics["val/loss"].isfinite()


def test_a_missing_stable_diffusion_folder_is_exit_3_and_one_sentence(
    shapes_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _overrides([TRAIN], tmp_path / "nowhere", shapes_shards, tmp_path)
    assert main(["fit", "--config", str(TRAIN), *options]) == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "nowhere does not exist" in error and error.count("error:") == 1
