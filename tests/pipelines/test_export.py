"""`lightning export`, and generation from what it wrote."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from forks import Forked
from safetensors.torch import load_file
from small_checkpoints import RESOLVED, SMALL, sd_config, write_checkpoint
from small_disk import mounted
from waiting import GUARD, wait_until

from lightning_artv import ARTVPipeline, cli
from lightning_artv.checkpoints.file import embedded_config
from lightning_artv.checkpoints.record import run_record
from lightning_artv.errors import UserError
from lightning_artv.pipelines import folder as folders
from lightning_artv.pipelines.command import export
from lightning_artv.pipelines.folder import CARD, CHECKSUMS, INDEX


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "last.ckpt", SMALL)


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    return export(checkpoint, checkpoint.parent / "exported")


def command(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def generated(model: Path, output: Path, *more: object) -> list[bytes]:
    """The lossless frames of a video, each a file's bytes."""
    arguments = ["--prompt", "a dog", "--frames", 3, "--seed", 5, "--output", output]
    assert command("generate", "--checkpoint", model, *arguments, *more) == 0
    return [path.read_bytes() for path in sorted(output.iterdir())]


def test_a_checkpoint_and_its_export_generate_the_same(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("export", "--checkpoint", checkpoint, "--output", tmp_path / "x") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "x")
    first = generated(checkpoint, tmp_path / "first")  # in the checkpoint's size, from its averages
    assert generated(tmp_path / "x", tmp_path / "second") == first
    pipeline = ARTVPipeline.from_pretrained(tmp_path / "x")
    pipeline.set_progress_bar_config(disable=True)
    video = pipeline("a dog", num_frames=3, seed=5).frames[0]
    for index, frame in enumerate(video):
        assert frame.size == (24, 16)
        frame.save(tmp_path / "frame.png")
        assert (tmp_path / "frame.png").read_bytes() == first[index]
    assert not list(tmp_path.glob(".*"))  # nothing temporary is left


def test_the_raw_weights_are_others(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    raw = export(checkpoint, tmp_path / "raw", weights="raw")
    frames = generated(raw, tmp_path / "a")
    assert frames == generated(checkpoint, tmp_path / "b", "--weights", "raw")
    assert frames != generated(exported, tmp_path / "c")
    assert "weights: raw (not averaged)" in (raw / CARD).read_text()


def test_the_folder_stands_alone(
    sd_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen weights travel along: the folder that the checkpoint names is needed no more."""
    base = tmp_path / "stable-diffusion-2-1-base"
    base.symlink_to(sd_folder)
    checkpoint = write_checkpoint(tmp_path / "sd.ckpt", sd_config(base))
    folder = export(checkpoint, tmp_path / "x")
    first = generated(checkpoint, tmp_path / "first", "--size", "16x16")
    base.unlink()
    assert generated(folder, tmp_path / "second", "--size", "16x16") == first
    output = ["--prompt", "p", "--output", tmp_path / "no.mp4", "--size", "16x16"]
    assert command("generate", "--checkpoint", checkpoint, *output) == 3
    assert command("export", "--checkpoint", checkpoint, "--output", tmp_path / "y") == 3
    assert not (tmp_path / "y").exists()
    vae = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    theirs = load_file(sd_folder / "vae/diffusion_pytorch_model.safetensors")
    assert vae.keys() == theirs.keys() and all(vae[name].equal(theirs[name]) for name in vae)
    card = (folder / CARD).read_text()
    assert "license: openrail++" in card and "CreativeML Open RAIL++-M" in card


def test_low_rank_updates_are_merged(sd_folder: Path, tmp_path: Path) -> None:
    """What was trained as LoRA is exported as a plain U-Net."""
    config = sd_config(sd_folder)
    config["init_args"]["unet"]["init_args"]["lora_rank"] = 2
    checkpoint = write_checkpoint(tmp_path / "lora.ckpt", config)
    folder = export(checkpoint, tmp_path / "x")
    frames = generated(checkpoint, tmp_path / "first", "--size", "16x16")
    assert generated(folder, tmp_path / "second", "--size", "16x16") == frames
    ours = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    theirs = load_file(sd_folder / "unet/diffusion_pytorch_model.safetensors")
    assert ours.keys() == theirs.keys()
    changed = {name for name in ours if not ours[name].equal(theirs[name])}
    assert changed and all("attn" in name for name in changed)


def test_the_card_says_what_the_run_was(exported: Path) -> None:
    card = (exported / CARD).read_text()
    _, header, body = card.split("---\n", 2)
    assert yaml.safe_load(header) == {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-video",
        "tags": ["text-to-video", "art-v", "diffusers"],
    }
    for words in (
        "exponential moving average (decay: 0.997) over 649 updates",
        "optimiser steps: 650",
        "train: shards/moving-dogs",
        "lr: 0.00123",
        "precision: bf16-mixed",
        "seed: 42",
        'from_pretrained("exported")',
        "Who trained these weights",
    ):
        assert words in body, words
    assert "outputs/x" not in card  # nothing of the machine
    system = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert system == SMALL
    weights = exported / "mask_unet/diffusion_pytorch_model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in body


def test_an_older_checkpoints_card_invents_nothing(tmp_path: Path) -> None:
    config = {k: v for k, v in embedded_config(RESOLVED).items() if k != "run"}
    checkpoint = write_checkpoint(tmp_path / "old.ckpt", SMALL, lightning_artv=config)
    card = (export(checkpoint, tmp_path / "x") / CARD).read_text()
    assert "trainer: not recorded" in card and "seed: not recorded" in card
    assert "size: [16, 24], fps: 4" in card
    assert "0.997" not in card and "bf16" not in card


def test_the_run_record() -> None:
    assert run_record(RESOLVED) == {
        "seed_everything": 42,
        "model": {"lr": 0.00123, "betas": [0.9, 0.99]},
        "data": RESOLVED["data"],
        "trainer": {"max_steps": 700, "precision": "bf16-mixed"},
        "ema": {"decay": 0.997},
    }
    for callbacks in (None, [], {"class_path": "x.Y"}):
        assert run_record({"trainer": {"callbacks": callbacks}})["ema"] is None


def test_checksums_are_sha256sums(exported: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", CHECKSUMS], cwd=exported, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    listed = {line.split("  ")[1] for line in (exported / CHECKSUMS).read_text().splitlines()}
    there = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert there - listed == {CHECKSUMS, CARD}


def test_a_folder_is_replaced_only_on_request(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x"
    output.mkdir()  # an empty one may be taken
    arguments = ["export", "--checkpoint", checkpoint, "--output", output]
    assert command(*arguments) == 0
    (output / "old").touch()
    assert command(*arguments) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert (output / "old").exists()
    assert command(*arguments, "--overwrite") == 0
    assert not (output / "old").exists() and (output / INDEX).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").touch()
    assert command(*arguments[:-1], other, "--overwrite") == 2
    assert "a folder with other files" in capsys.readouterr().err
    assert (other / "thesis.txt").exists()
    assert command(*arguments[:-1], other / "thesis.txt", "--overwrite") == 2
    assert "is a file" in capsys.readouterr().err


def test_a_failure_midway_leaves_what_was_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export(checkpoint, tmp_path / "x")
    before = (folder / CHECKSUMS).read_text()

    def full(path: Path) -> str:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(folders, "sha256_of", full)
    with pytest.raises(UserError, match="Cannot write"):
        export(checkpoint, folder, "raw", overwrite=True)
    assert (folder / CHECKSUMS).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """safetensors raises its own error there, without an `OSError`."""
    with mounted(tmp_path / "disk", "size=64k") as disk:
        assert command("export", "--checkpoint", checkpoint, "--output", disk / "x") == 2
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"error: Cannot write {disk / 'x'}: No space left on device; free some" in message
        assert not list(disk.iterdir())


def _slow_export(checkpoint: Path, output: Path) -> None:
    folders.sha256_of = lambda path: time.sleep(2 * GUARD)
    export(checkpoint, output)


def test_killed_it_leaves_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    """Killed between two files: nothing under the final name."""
    process = Forked(tmp_path / "log", _slow_export, checkpoint, tmp_path / "x")
    begun = ".x.*.part/model_index.json"
    wait_until(lambda: list(tmp_path.glob(begun)), "nothing was written", process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.glob(".x.*.part"))  # it was at work
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--checkpoint", "none.ckpt"], "There is no checkpoint 'none.ckpt'"),
        (["--checkpoint", "C", "--weights", "best"], "--weights"),
        (["--checkpoint", "C", "--overwite"], "--overwite"),
        (["--chekpoint", "C"], "--checkpoint"),
    ],
)
def test_bad_options_are_one_sentence(
    arguments: list[str],
    words: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(checkpoint) if a == "C" else a for a in arguments]
    assert command("export", *arguments, "--output", tmp_path / "x") == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and words in message and "\n" not in message
    assert not (tmp_path / "x").exists()


def test_checkpoints_that_cannot_be_exported(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = checkpoint.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    write_checkpoint(tmp_path / "noema.ckpt", SMALL, ema=None)
    for name, words in {"cut.ckpt": "truncated", "noema.ckpt": "no EMA weights"}.items():
        arguments = ["--checkpoint", tmp_path / name, "--output", tmp_path / "x"]
        assert command("export", *arguments) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("harm", "code", "words"),
    [
        (lambda f: (f / "unet/config.json").unlink(), 3, "no file unet/config.json"),
        (lambda f: (f / INDEX).unlink(), 3, "has no model_index.json"),
        (lambda f: (f / INDEX).write_text("{"), 4, "is no JSON"),
        (lambda f: (f / "unet/config.json").write_text("{}"), 4, "has not the sha256"),
    ],
)
def test_generate_from_a_damaged_folder(
    harm: Any,
    code: int,
    words: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = export(checkpoint, tmp_path / "x")
    capsys.readouterr()
    harm(folder)
    arguments = ["--prompt", "p", "--output", tmp_path / "x.mp4"]
    assert command("generate", "--checkpoint", folder, *arguments) == code
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and words in message and "\n" not in message


def test_an_exported_folder_has_one_set_of_weights(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--prompt", "p", "--output", tmp_path / "x.mp4", "--weights", "raw"]
    assert command("generate", "--checkpoint", exported, *arguments) == 2
    assert "is an exported folder" in capsys.readouterr().err


def test_help_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys; from lightning_artv.cli import main\n"
        "try: main(['export', '--help'])\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'lightning', 'diffusers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: lightning export" in done.stdout and "--overwrite" in done.stdout
