"""The command line: help, configuration files, errors of one sentence, resume."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser
from stub_system import StubData

from lightning_artv import cli
from lightning_artv.errors import DataError
from lightning_artv.systems.base import VideoSystem
from lightning_artv.training import command

BASE = """
data: {size: [4, 4], fps: 4, batches: 2}
model:
  lr: 1.0e-3
  system: {class_path: stub_system.StubSystem, init_args: {width: "${data.size[0]}"}}
trainer:
  accelerator: cpu
  max_epochs: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  logger: {class_path: lightning.pytorch.loggers.TensorBoardLogger, init_args: {save_dir: RUN, name:
      ""}}
  callbacks:
  - class_path: lightning_artv.training.ema.EMA
    init_args: {decay: 0.9}
  - class_path: lightning.pytorch.callbacks.ModelCheckpoint
    init_args: {dirpath: RUN/checkpoints, save_last: true}
"""

EMA = "lightning_artv.training.ema.EMA"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "VideoDataModule", StubData)
    path = tmp_path / "base.yaml"
    path.write_text(BASE.replace("RUN", str(tmp_path / "run")))
    return path


def extra(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"extra{len(list(tmp_path.glob('extra*')))}.yaml"
    path.write_text(text)
    return str(path)


def saved(tmp_path: Path, version: int = 0) -> dict[str, Any]:
    return yaml.safe_load((tmp_path / "run" / f"version_{version}" / "config.yaml").read_text())


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], []])
def test_help_is_quick_and_imports_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from lightning_artv.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: lightning" in done.stdout


def test_fit_interpolates_across_files_and_saves_the_resolved_config(
    base: Path, tmp_path: Path
) -> None:
    later = extra(tmp_path, "data: {size: [6, 6]}\nmodel: {lr: 1.0e-2, warmup_steps: 3}")
    arguments = ["fit", "--config", str(base), "--config", later, "--model.lr", "5e-3"]
    assert cli.main(arguments) == 0
    config = saved(tmp_path)
    assert config["model"]["system"]["init_args"]["width"] == 6  # the later file's size
    assert config["model"]["lr"] == 5e-3  # the command line wins over both files
    assert config["model"]["warmup_steps"] == 3
    assert config["seed_everything"] == 0
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert checkpoint["lightning_artv"]["system"]["init_args"]["width"] == 6
    assert checkpoint["lightning_artv"]["data"] == {"size": [6, 6], "fps": 4.0}


def test_resume_from_last_continues_and_keeps_both_configs(base: Path, tmp_path: Path) -> None:
    fixed = extra(tmp_path, "trainer: {logger: {init_args: {version: 0}}}")
    first = ["fit", "--config", str(base), "--config", fixed]
    assert cli.main(first) == 0
    assert cli.main([*first, "--trainer.max_epochs", "3", "--ckpt_path", "last"]) == 0
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    assert checkpoint["ema"]["updates"] == 6
    assert saved(tmp_path)["trainer"]["max_epochs"] == 1
    again = yaml.safe_load((tmp_path / "run/version_0/config_1.yaml").read_text())
    assert again["trainer"]["max_epochs"] == 3


def test_a_run_killed_while_it_saves_its_config_leaves_none(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, there = tmp_path / "run" / "version_0", []
    save = LightningArgumentParser.save

    def saves(parser: Any, config: Any, path: str, **options: Any) -> None:
        save(parser, config, path, **options)
        there.append((folder / "config.yaml").exists())

    monkeypatch.setattr(LightningArgumentParser, "save", saves)
    assert cli.main(["fit", "--config", str(base)]) == 0
    assert there == [False] and saved(tmp_path)["seed_everything"] == 0
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_the_other_subcommands_run(subcommand: str, base: Path) -> None:
    assert cli.main([subcommand, "--config", str(base)]) == 0


def test_only_the_subcommand_that_is_called_is_described_to_the_parser(base: Path) -> None:
    done = command.run(["validate", "--config", str(base)])
    assert list(done.subcommands()) == ["validate"]


MISSPELT = {
    "trainer: {max_stepz: 1}": ("trainer.max_stepz", "did you mean 'trainer.max_steps'?"),
    "model: {lrr: 1}": ("model.lrr", "did you mean 'model.lr'?"),
    "modle: {lr: 1}": ("modle.lr", "did you mean 'model.lr'?"),
    "max_steps: 1": ("max_steps", "did you mean 'trainer.max_steps'?"),
    "model: {system: {init_args: {widht: 3}}}": ("widht", "did you mean 'width'?"),
    "model: {system: {init_arg: {width: 3}}}": ("init_arg", "did you mean 'init_args'?"),
    "trainer: {callbacks: {class_path: lightning_artv.training.ema.EMA, init_args: {decai: 1}}}": (
        "decai",
        "did you mean 'decay'?",
    ),
    "trainer: {callbacks: [{class_path: lightning_artv.training.ema.EMMA}]}": (
        "no class 'lightning_artv.training.ema.EMMA'",
        "did you mean 'lightning_artv.training.ema.EMA'?",
    ),
}


def test_an_option_is_not_abbreviated(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "--config", str(base), "--trainer.max_step", "3"]) == 2
    assert "did you mean 'trainer.max_steps'?" in capsys.readouterr().err


@pytest.mark.parametrize("text", MISSPELT)
def test_a_misspelt_key_names_itself_and_suggests(
    text: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", "--config", str(base), "--config", extra(tmp_path, text)]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for part in MISSPELT[text]:
        assert part in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--model.lrr", "3"], ["model.lrr", "did you mean 'model.lr'?"]),
        (["--model.lrr=3"], ["'model.lrr'", "did you mean 'model.lr'?"]),
        (["--model.system.init_args.widht", "3"], ["widht", "did you mean 'width'?"]),
        (["--config", "none.yaml"], ["none.yaml"]),
        (["--model.lr", "abc"], ["model.lr must be a number, got abc."]),
        (["--trainer.precision", "17"], ["precision must be 64, 32, 16, ", " or null, got 17."]),
        (["--trainer.max_epochs", "a"], ["max_epochs must be a whole number or null, got a."]),
        (["--trainer.barebones", "a"], ["trainer.barebones must be true or false, got a."]),
        (["--model.betas", "3"], ["model.betas must be a list, got 3."]),
        (["--model.betas", "[1]"], ["model.betas must be a list of 2 elements, got [1]."]),
        (["--trainer.logger", "5"], ["trainer.logger must be a class (class_path: ", "got 5."]),
        (["--model.system", "torch.nn.Linear"], ["must be a Trainable, got torch.nn.Linear."]),
        (
            ["--trainer.callbacks", "[{class_path: torch.nn.Linear}]"],
            ["trainer.callbacks must be a Callback, got torch.nn.Linear."],
        ),
        (
            ["--trainer.callbacks", f"[{{class_path: {EMA}, init_args: {{decay: x}}}}]"],
            [f"trainer.callbacks: '{EMA}' cannot be configured: decay must be a number, got x."],
        ),
        (
            ["--model.system", "stub_system.StubSistem"],
            ["no class 'stub_system.StubSistem'", "did you mean 'stub_system.StubSystem'?"],
        ),
        (["--model.system", "nowhere.Stub"], ["no class 'nowhere.Stub'", "no module 'nowhere'"]),
        (["--ckpt_path", "none.ckpt"], ["no checkpoint 'none.ckpt'"]),
    ],
)
def test_bad_arguments_are_one_sentence(
    arguments: list[str], parts: list[str], base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", "--config", str(base), *arguments]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    for part in parts:
        assert part in message, message
    assert not any(word in message for word in ("<class", "typing.", "Union", "Expected"))


def test_null_reaches_an_option_of_a_class_within_a_class() -> None:
    unet = "--system.init_args.unet"
    parser = command.Parser(parser_mode="omegaconf+", exit_on_error=False)
    parser.add_argument("--system", type=VideoSystem)
    arguments = ["--system=lightning_artv.systems.artv.ARTV.build"]
    arguments.append(f"{unet}=lightning_artv.networks.unet.PretrainedUNet")
    for part, name in (("autoencoder", "KLAutoencoder"), ("text_encoder", "CLIPTextEncoder")):
        option = f"--system.init_args.{part}"
        arguments.append(f"{option}=lightning_artv.networks.{part}.{name}")
        arguments.append(f"{option}.init_args.pretrained=x")
    arguments.append(f"{unet}.init_args.pretrained=x")
    for value in (4, None):
        arguments.append(f"{unet}.init_args.lora_rank={'null' if value is None else value}")
        found = parser.parse_args(arguments).system.init_args.unet.init_args
        assert found.lora_rank == value


def test_an_interpolation_of_nothing_is_one_sentence(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = extra(tmp_path, "model: {seed: '${data.sise}'}")
    assert cli.main(["fit", "--config", str(base), "--config", bad]) == 2
    assert "sise" in capsys.readouterr().err.strip().splitlines()[-1]


def test_unknown_command_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fitt"]) == 2
    assert "did you mean 'fit'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DataError("No shards here."), 5, "No shards here."),
        (KeyboardInterrupt(), 130, "Stopped by Ctrl-C"),
        (
            OSError(28, "No space left on device", "x.ckpt"),
            2,
            "disk is full while writing 'x.ckpt'",
        ),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "dispatch", fail)
    assert cli.main(["fit"]) == code
    assert words in capsys.readouterr().err


def test_ctrl_c_during_training_is_130(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.VideoModule, "training_step", interrupted)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cli.main(["fit", "--config", str(base)]) == 130
    assert "Stopped by Ctrl-C" in capsys.readouterr().err


def test_other_errors_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(arguments: list[str]) -> int:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(cli, "dispatch", fail)
    with pytest.raises(OSError, match="Permission"):
        cli.main(["fit"])
