"""Stored latents: read back as written, damage named, the same training as from videos."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load
from torch import Tensor

from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.decode import DecodeError
from lightning_artv.data.index import open_index
from lightning_artv.data.latents import StoredLatents, pack
from lightning_artv.data.shards import ClipSettings, Place, Sample, ShardDataset, collate
from lightning_artv.data.tar import FilePart
from lightning_artv.errors import DataError, UserError
from lightning_artv.systems.artv.windows import NextFrame, in_roles


def moments(frames: int = 5, channels: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(frames, channels, 4, 6, generator=generator).half()


def write_tar(path: Path, samples: dict[str, bytes]) -> Path:
    with tarfile.TarFile(path, "w") as tar:
        for key, data in samples.items():
            for name, content in ((f"{key}.safetensors", data), (f"{key}.txt", b"a caption")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def test_what_was_packed_is_read() -> None:
    stored = moments()
    with StoredLatents(pack(stored, [0, 0.125, 0.25, 0.375, 0.5], (32, 48))) as source:
        assert source.timestamps == [0, 0.125, 0.25, 0.375, 0.5]
        assert torch.equal(source.frames([3, 0, 3], (32, 48)), stored[[3, 0, 3]])
        with pytest.raises(UserError, match=r"of frames of 32x48, but data\.size is 64x64"):
            source.frames([0], (64, 64))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not readable"),
        (b"nonsense that is no safetensors", "not readable"),
        (pack(moments(), [0.0], (32, 48)), "timestamps"),
        (pack(moments()[:, 0], [0.0], (32, 48)), "moments is missing or of another type"),
        (pack(moments() / 0, [0.0, 1, 2, 3, 4], (32, 48)), "not finite"),
    ],
)
def test_damage_is_named(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        StoredLatents(data)


def test_a_truncated_file_is_counted_and_skipped(tmp_path: Path) -> None:
    good = pack(moments(), [0, 0.125, 0.25, 0.375, 0.5], (32, 48))
    tar = write_tar(tmp_path / "0.tar", {"a": good, "b": good[:-7], "c": good})
    data = ShardDataset(tar, ClipSettings(NextFrame(), (32, 48)), max_corrupt_share=1.0)
    with pytest.warns(UserWarning, match=r"b \(not readable latents"):
        samples = list(data)
    assert [s.key for s in samples] == ["a", "c"] and data.stats.counts.corrupt == 1
    assert samples[0].frames.dtype == torch.float16
    assert collate(samples).frames.shape == (2, 4, 8, 4, 6)


def test_kinds_are_not_mixed_in_a_batch() -> None:
    choice = torch.tensor([[0, 1, 2, 3]])
    video = Sample(torch.zeros(4, 3, 32, 48, dtype=torch.uint8), choice, "", "v")
    latent = Sample(torch.zeros(4, 8, 4, 6, dtype=torch.float16), choice, "", "l")
    with pytest.raises(DataError, match="different kinds"):
        collate([video, latent])


def test_the_targets_of_a_window_must_divide_the_batch(shapes_shards: Path) -> None:
    with pytest.raises(UserError, match="batch_size 32 is not divisible"):
        VideoDataModule(str(shapes_shards), windows=NextFrame(targets=3))


def test_a_batch_of_windows_has_the_configured_targets(shapes_shards: Path) -> None:
    data = VideoDataModule(
        str(shapes_shards),
        str(shapes_shards),
        size=32,
        fps=None,
        batch_size=8,
        windows=NextFrame(targets=4),
        num_workers=0,
        shuffle=0,
    )
    batch = next(iter(data.train_dataloader()))
    assert len(batch) == 8 and batch.frames.shape == (2, 7, 3, 32, 32)
    roles = in_roles(batch)
    assert roles.target.shape == (8, 3, 32, 32) and roles.references.shape == (8, 2, 3, 32, 32)
    assert torch.equal(roles.references[1, 0], roles.target[0])  # the next target's reference
    held_out = next(iter(data.val_dataloader()))
    assert held_out.choice.shape == (8, 1, 4)  # one target each
    assert batch.each_target(batch.keys)[:5] == (batch.keys[0],) * 4 + (batch.keys[1],)


def read_bytes() -> int:
    """Bytes that this process has asked the system for, so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system does not count reads")
def test_only_a_window_is_read(tmp_path: Path) -> None:
    stored = torch.randn(200, 8, 16, 16)
    packed = pack(stored, [k / 8 for k in range(200)], (128, 128))
    tar = write_tar(tmp_path / "0.tar", {"a": packed, "b": packed})
    data = ShardDataset(tar, ClipSettings(NextFrame(), (128, 128)))
    before = read_bytes()
    sample, _ = data.read(Place(0, 0))
    assert sample is not None
    assert read_bytes() - before < len(packed) / 4
    window = data.clips.windows.choose(200, Random("0:0:a"))
    assert torch.equal(sample.frames, stored.half()[list(window.frames)])


def test_frames_that_are_not_read_are_not_looked_at(tmp_path: Path) -> None:
    stored = moments(30)
    stored[:, 0, 0, 0] = torch.nan
    stored[:20, 0, 0, 0] = 0
    packed = pack(stored, [k / 8 for k in range(30)], (32, 48))
    path = write_tar(tmp_path / "0.tar", {"a": packed})
    part = open_index([path]).read(0, ()).latents
    assert part is not None and part.size == len(packed)
    with StoredLatents(part) as source:
        assert torch.equal(source.frames([19, 0]), stored[[19, 0]].half())
        with pytest.raises(DecodeError, match="not finite"):
            source.frames([19, 20])


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_file_that_shrinks_while_it_is_read_is_damage(tmp_path: Path, cut: int) -> None:
    packed = pack(moments(), [0, 0.125, 0.25, 0.375, 0.5], (32, 48))
    path = tmp_path / "a"
    path.write_bytes(packed)
    source = StoredLatents(FilePart(path, 0, len(packed)))
    path.write_bytes(packed[: max(0, len(packed) - cut)])
    with pytest.raises(DecodeError, match="they end early"), source:
        source.frames([4])
    path.unlink()
    with pytest.raises(DecodeError, match="not readable latents"):
        StoredLatents(FilePart(path, 0, len(packed)))


GOOD = pack(torch.arange(80.0).reshape(5, 4, 2, 2), [0, 1, 2, 3, 4], (16, 16))


@given(at=st.integers(0, 7 + int.from_bytes(GOOD[:8], "little")), new=st.binary(max_size=4))
def test_any_header_is_read_or_refused(at: int, new: bytes) -> None:
    """Whatever the header says: what safetensors reads is read the same, all else is refused."""
    bad = GOOD[:at] + new + GOOD[at + len(new) :]
    try:
        found = StoredLatents(bad)
    except DecodeError as error:
        assert "\n" not in str(error)
        return
    expected = load(bad)
    assert torch.equal(found.frames(range(len(found.timestamps))), expected["moments"])
    assert found.timestamps == expected["timestamps"].tolist()


def test_every_float16_is_finite_or_not() -> None:
    for bits in [*range(0x7BF0, 0x7C10), *range(0xFBF0, 0xFC10), 0, 1, 0x7FFF, 0x8000, 0xFFFF]:
        number = np.array([bits], np.uint16).view(np.float16)
        stored = torch.full((1, 4, 1, 1), 0.5).half()
        stored[0, 2] = torch.from_numpy(number)
        packed = pack(stored, [0.0], (8, 8))
        if np.isfinite(number[0]):
            assert StoredLatents(packed).frames([0])[0, 2] == number[0]
        else:
            with pytest.raises(DecodeError, match="not finite"):
                StoredLatents(packed)
