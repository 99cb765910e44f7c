"""Parts that make no videos alone, under the shared commands: trained, shown, measured, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import generate
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evaluation.__main__ import main as evaluate
from evaluation.parts.clips import worlds
from evaluation.parts.decoder import Decoded, _measure, measure
from lightning_artv import cli
from lightning_artv.checkpoints.autoencoder import TrainedAutoencoder
from lightning_artv.checkpoints.file import load_part
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.networks.autoencoder import DiffusersAutoencoder
from lightning_artv.synthetic.worlds import world_at
from lightning_artv.systems.decoder.autoencoder import PictureAutoencoder
from lightning_artv.systems.decoder.system import VideoDecoder
from lightning_artv.systems.videogen.tsr import TemporalSuperResolution

CONFIGS = Path(__file__).parents[2] / "configs"
DEMO_PICTURES = CONFIGS / "vidrd" / "demo_autoencoder.yaml"
INIT = "--model.system.init_args"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four worlds of 32x32 pixels and 9 frames."""
    folder = tmp_path_factory.mktemp("parts") / "shards"
    with ShardWriter(folder) as writer:
        for index in range(4):
            video = encode_lossless(world_at(index, 0).video(9), 8)
            writer.write(f"clip{index}", video, "", {})
    return folder


def fit(config: Path, shards: Path, folder: Path, *more: str) -> Path:
    """The last checkpoint of two steps of a configuration."""
    callbacks = "--trainer.callbacks"
    words = ["fit", "--config", str(config), f"--data.train={shards}", f"--data.val={shards}"]
    words += [f"--trainer.default_root_dir={folder}", "--trainer.accelerator=cpu"]
    words += ["--data.size=32", "--data.batch_size=2", "--data.num_workers=0", "--data.fps=null"]
    words += ["--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.precision=32"]
    words += ["--model.warmup_steps=0", "--model.global_batch_size=null"]
    words += [f"{callbacks}.samples.init_args.every_n_steps=2"]
    words += [f"{callbacks}.loss_by_timestep.init_args.every_n_batches=2"]
    words += [f"{callbacks}.samples.init_args.clips=2", "--trainer.log_every_n_steps=1"]
    words += ["--trainer.val_check_interval=2"]
    words += [f"{callbacks}.checkpoint.init_args.every_n_train_steps=1"]
    assert cli.main([*words, *more]) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def tsr(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = f"{INIT}.unet.init_args.channels=[8,16]", f"{INIT}.flow.width=8"
    folder = tmp_path_factory.mktemp("tsr")
    return fit(CONFIGS / "videogen" / "demo_tsr.yaml", shards, folder, *small)


@pytest.fixture(scope="module")
def decoder(shards: Path, sd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = f"{INIT}.autoencoder.init_args.pretrained={sd_folder}"
    folder = tmp_path_factory.mktemp("decoder")
    return fit(CONFIGS / "videogen" / "decoder.yaml", shards, folder, named)


@pytest.fixture(scope="module")
def pictures(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = f"{INIT}.channels=[8,16,16]"
    return fit(DEMO_PICTURES, shards, tmp_path_factory.mktemp("pictures"), small)


def logged(checkpoint: Path) -> EventAccumulator:
    return EventAccumulator(str(checkpoint.parents[1] / "tensorboard"), {"images": 0}).Reload()


def test_tsr_shows_its_preview_and_its_errors(tsr: Path) -> None:
    tags = logged(tsr).Tags()
    pictures = {f"preview/{name}" for name in ("truth", "linear", "warped", "refined")}
    assert set(tags["images"]) == pictures
    assert {"train/loss", "val/loss"} <= set(tags["scalars"])
    assert any(tag.startswith("train/refined_q") for tag in tags["scalars"])


def test_the_decoder_shows_its_preview_and_its_errors(decoder: Path) -> None:
    tags = logged(decoder).Tags()
    names = ("truth", "degraded", "image_decoder", "decoder")
    assert set(tags["images"]) == {f"preview/{name}" for name in names}
    assert "train/l1" in tags["scalars"]


def test_checkpoints_say_which_part_they_hold(tsr: Path, decoder: Path) -> None:
    one, other = load_part(tsr), load_part(decoder)
    assert isinstance(one, TemporalSuperResolution) and one.part == "tsr"
    assert isinstance(other, VideoDecoder) and other.part == "decoder"
    assert one.origin.size == other.origin.size == (32, 32)
    latents = one.autoencoder.encode(torch.zeros(16, 3, 32, 32, dtype=torch.uint8))[None]
    for frames in (31, 61, 121):
        before, latents = latents, one.slow_down(latents, generators_for(0, [0]))
        assert latents.shape[1] == frames and torch.equal(latents[:, ::2], before)


def test_a_decoder_learns_behind_an_autoencoder_that_was_trained_here(
    pictures: Path, shards: Path, tmp_path: Path
) -> None:
    named = f"{INIT}.autoencoder.init_args.path={pictures}"
    part = load_part(fit(CONFIGS / "vidrd" / "demo_decoder.yaml", shards, tmp_path, named))
    own = load_part(pictures)
    assert isinstance(part, VideoDecoder) and isinstance(own, PictureAutoencoder)
    learned = part.decoder.state_dict()
    for name, weight in own.vae.decoder.state_dict().items():
        assert torch.equal(learned[f"decoder.{name}"], weight), name
    over_time = [x for name, x in learned.items() if name.endswith("temporal.layers.2.3.weight")]
    assert over_time and all(x.any() for x in over_time)  # they began at zero
    frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = DiffusersAutoencoder(own.vae).encode(frames)
    assert torch.equal(part.autoencoder.encode(frames), mean)


def test_an_autoencoder_is_read_of_its_own_checkpoints_alone(tsr: Path, pictures: Path) -> None:
    assert TrainedAutoencoder(str(pictures)).factor == 4
    with pytest.raises(UserError, match="give the checkpoint of a picture autoencoder"):
        TrainedAutoencoder(str(tsr))


def test_a_part_alone_generates_exports_and_predicts_nothing(
    tsr: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(tsr, tmp_path / "out") == 2
    assert "part 'tsr'" in capsys.readouterr().err
    words = ["export", "--checkpoint", str(tsr), "--output", str(tmp_path / "out")]
    assert cli.main(words) == 2
    assert "part 'tsr'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_teacher_is_exit_3(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIGS / "videogen" / "demo_tsr.yaml"
    words = ["fit", "--config", str(config), f"--data.train={shards}", "--data.val=null"]
    words += [f"--trainer.default_root_dir={tmp_path}", "--data.size=128", "--data.num_workers=0"]
    words += [f"{INIT}.teacher=lightning_artv.networks.raft.RAFT"]
    words += [f"{INIT}.teacher.init_args.weights={tmp_path / 'raft.pth'}", f"{INIT}.unet=null"]
    assert cli.main([*words, "--trainer.max_steps=1", "--data.batch_size=1"]) == 3
    error = capsys.readouterr().err
    assert "no weights of RAFT" in error and "Traceback" not in error


# Evaluation


def test_middle_frames_of_worlds_are_measured(
    tsr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tsr", "--checkpoint", str(tsr), "--out", str(tmp_path), "--clips", "3"]
    assert evaluate([*words, "--gaps", "2", "3", "--set", "steps=2", "--device", "cpu"]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result["gaps"]) == ["2", "3"] and result["sampling"]["steps"] == 2
    means = result["gaps"]["2"]["methods"]
    names = ["repeated", "linear", "slerp", "DIS", "warped", "refined", "encoded"]
    assert list(means) == names and means["encoded"]["psnr"] == 100
    frames = [torch.from_numpy(world_at(i, 1, "heldout").video(7)).float() for i in range(3)]
    linear = [((f[1] + f[5]) / 2 - f[3]).square().mean() for f in frames]
    expected = np.mean([10 * np.log10(255**2 / float(error)) for error in linear])
    assert means["linear"]["psnr"] == pytest.approx(expected, abs=0.05)  # it is rounded to uint8
    assert (tmp_path / "middle.gif").read_bytes()[:3] == b"GIF"
    assert "warped over linear" in capsys.readouterr().out


def test_middle_frames_of_a_folder_are_measured(
    tsr: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for index in range(2):
        video = world_at(index, 1, "heldout", 64).video(8 - 3 * index)
        (folder / f"{index}.mp4").write_bytes(encode_lossless(video, 8))
    (folder / "broken.mp4").write_bytes(b"no video")
    words = ["tsr", "--checkpoint", str(tsr), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert evaluate([*words, "--data", str(folder), "--gaps", "1", "3", "9"]) == 0
    assert "'broken.mp4' is left out" in capsys.readouterr().err
    gaps = json.loads((tmp_path / "out" / "result.json").read_text())["gaps"]
    assert {gap: found["videos"] for gap, found in gaps.items()} == {"1": 2, "3": 1}


def test_decoders_are_measured(decoder: Path, tmp_path: Path) -> None:
    words = ["decoder", "--checkpoint", str(decoder), "--out", str(tmp_path), "--clips", "2"]
    words += ["--frames", "10", "--beside", str(decoder), "--device", "cpu"]
    assert evaluate(words) == 0
    found = json.loads((tmp_path / "result.json").read_text())["latents"]
    assert list(found) == ["clean", "still", "degraded"]
    means = found["degraded"]["decoders"]
    assert list(means) == ["given", "image", "video", "video, no context", "beside"]
    assert means["beside"] == means["video"] != means["given"]
    assert set(means["image"]) == {"psnr", "flicker", "join_flicker"}
    worlds = [world_at(i, 1, "heldout").video(10).astype(float) for i in range(2)]
    changes = np.mean([np.abs(np.diff(world, axis=0)).mean() for world in worlds])
    assert found["clean"]["truth_changes"] == pytest.approx(changes, rel=1e-5)


def test_what_stands_still_is_a_clips_first_frame(decoder: Path, tmp_path: Path) -> None:
    part = load_part(decoder)
    assert isinstance(part, VideoDecoder)
    job = Decoded(decoder, tmp_path, clips=2, frames=4, seed=3)
    (clip,) = list(worlds(1, 4, 32))
    values, rows = _measure(job, part, {"image": part.autoencoder.decode_clip}, [clip], "still")
    assert torch.equal(rows["truth"][0], clip.frames[:1].expand(4, -1, -1, -1))
    flicker = rows["image"][0].float().diff(dim=0).abs().mean().item()
    assert values["flicker"]["image"] == [pytest.approx(flicker)] and flicker > 0


def test_flicker_is_what_changes_of_the_error() -> None:
    truth = torch.randint(20, 200, (6, 3, 4, 4), dtype=torch.uint8)
    steady = measure(truth + 7, truth, 3)
    assert steady["flicker"] == steady["join_flicker"] == 0
    assert steady["psnr"] == pytest.approx(10 * np.log10(255**2 / 49))
    jump = truth.clone()
    jump[3:] += 12
    found = measure(jump, truth, 3)
    assert found["flicker"] == pytest.approx(12 / 5) and found["join_flicker"] == 12


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("tsr", "holds the part 'decoder', not tsr"),
        ("decoder", "holds the part 'tsr', not decoder"),
    ],
)
def test_the_checkpoint_of_another_part_is_refused(
    command: str,
    sentence: str,
    tsr: Path,
    decoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = decoder if command == "tsr" else tsr
    words = [command, "--checkpoint", str(other), "--out", str(tmp_path / "out")]
    assert evaluate([*words, "--device", "cpu"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
