"""Videos encoded once: the same frames as from the videos, resumed, damage named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from data_prep.__main__ import main
from data_prep.shards.latents import RECORD, LatentOptions, open_autoencoder, write_latents
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import ShardWriter, read_shard
from lightning_artv.errors import DataError, UserError
from lightning_artv.networks.autoencoder import Autoencoder, PixelUnshuffleAutoencoder
from lightning_artv.systems.artv.windows import NextFrame

OPTIONS = LatentOptions("none", "0", (32, 32), None)


class Counting(PixelUnshuffleAutoencoder):
    """Counts the frames that it encodes."""

    encoded = 0

    def moments(self, pixels: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.encoded += len(pixels)
        return super().moments(pixels)


def test_training_reads_the_same_frames_and_captions(shapes_shards: Path, tmp_path: Path) -> None:
    autoencoder = Counting(2)
    report = write_latents(shapes_shards, tmp_path / "out", autoencoder, OPTIONS, batch=5)
    clips = ClipSettings(NextFrame(), (32, 32), fps=None)
    videos = list(ShardDataset(shapes_shards, clips, seed=3))
    stored = list(ShardDataset(tmp_path / "out", clips, seed=3))
    assert report.encoded == len(videos) == len(stored) > 0 and not report.skipped
    for video, latent in zip(videos, stored, strict=True):
        assert (video.key, video.caption) == (latent.key, latent.caption)
        assert torch.equal(autoencoder.decode(autoencoder.restore(latent.frames)), video.frames)


def test_a_lower_rate_is_that_of_training(shapes_shards: Path, tmp_path: Path) -> None:
    options = LatentOptions("none", "0", (16, 16), 4.0)
    write_latents(shapes_shards, tmp_path / "out", PixelUnshuffleAutoencoder(2), options)
    clips = ClipSettings(NextFrame(), (16, 16), fps=4.0)
    videos = list(ShardDataset(shapes_shards, clips))
    stored = list(ShardDataset(tmp_path / "out", clips))
    encode = PixelUnshuffleAutoencoder(2).store
    assert all(torch.equal(encode(v.frames), s.frames) for v, s in zip(videos, stored, strict=True))


def test_what_is_done_is_not_done_again(shapes_shards: Path, tmp_path: Path) -> None:
    write_latents(shapes_shards, tmp_path / "whole", PixelUnshuffleAutoencoder(2), OPTIONS)
    out = tmp_path / "out"
    write_latents(shapes_shards, out, PixelUnshuffleAutoencoder(2), OPTIONS)
    record = json.loads((out / RECORD).read_text())
    last = sorted(record["shards"])[-1]
    frames = sum(16 for _ in read_shard(out / f"{last}.tar"))
    (out / f"{last}.tar").unlink()  # killed before the last shard got its name
    again = Counting(2)
    write_latents(shapes_shards, out, again, OPTIONS)
    assert again.encoded == frames
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_other_options_are_refused(shapes_shards: Path, tmp_path: Path) -> None:
    write_latents(shapes_shards, tmp_path / "out", PixelUnshuffleAutoencoder(2), OPTIONS)
    other = LatentOptions("none", "1", (32, 32), None)
    with pytest.raises(UserError, match="made with digest 0, not 1"):
        write_latents(shapes_shards, tmp_path / "out", PixelUnshuffleAutoencoder(2), other)
    with pytest.raises(UserError, match="not divisible by 4"):
        write_latents(
            shapes_shards,
            tmp_path / "b",
            PixelUnshuffleAutoencoder(4),
            LatentOptions("none", "0", (30, 32), None),
        )


def test_a_folder_of_videos_is_not_written_into(shapes_shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shapes_shards, tmp_path / "videos")
    with pytest.raises(UserError, match="which this command did not write"):
        write_latents(shapes_shards, tmp_path / "videos", PixelUnshuffleAutoencoder(2), OPTIONS)


def test_unreadable_videos_are_skipped_and_named(shapes_shards: Path, tmp_path: Path) -> None:
    good = next(raw for shard in sorted(shapes_shards.glob("*.tar")) for raw in read_shard(shard))
    with ShardWriter(tmp_path / "in") as writer:
        writer.write("bad", b"no video", "a caption", {})
        writer.write("good", good.files["mp4"], "a caption", {})
    report = write_latents(tmp_path / "in", tmp_path / "out", _exact(), OPTIONS)
    assert report.encoded == 1 and [key for key, _ in report.skipped] == ["bad"]
    assert "bad: not a readable video" in str(report)
    with ShardWriter(tmp_path / "all_bad") as writer:
        writer.write("bad", b"no video", "a caption", {})
    with pytest.raises(DataError, match="Not one video"):
        write_latents(tmp_path / "all_bad", tmp_path / "none", _exact(), OPTIONS)


def _exact() -> Autoencoder:
    return PixelUnshuffleAutoencoder(2)


def test_the_autoencoder_of_a_diffusers_folder(
    sd_folder: Path, shapes_shards: Path, tmp_path: Path
) -> None:
    device = torch.device("cpu")
    autoencoder, options = open_autoencoder(str(sd_folder), (32, 32), None, device, batch=4)
    write_latents(shapes_shards, tmp_path / "out", autoencoder, options)
    sample = next(
        iter(ShardDataset(tmp_path / "out", ClipSettings(NextFrame(), (32, 32), fps=None)))
    )
    assert sample.frames.shape == (4, 8, 16, 16) and sample.frames.dtype == torch.float16
    assert len(options.digest) == 64


def test_the_command(
    sd_folder: Path, shapes_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--pretrained", str(sd_folder), "--size", "32", "--all-frames", "--device", "cpu"]
    assert main(["latents", str(shapes_shards), str(out), *options]) == 0
    assert "videos' latents in" in capsys.readouterr().out
    assert json.loads((out / RECORD).read_text())["options"]["size"] == [32, 32]
    missing = ["--pretrained", str(tmp_path / "nothing")]
    assert main(["latents", str(shapes_shards), str(out), *missing]) == 3
    assert "does not exist" in capsys.readouterr().err
