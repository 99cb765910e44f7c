"""Videos decoded by a small decoder: the system's latents, another's pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from small_checkpoints import SMALL, write_checkpoint
from torch import nn

from lightning_artv.cli import main
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.media import read_image
from lightning_artv.networks.autoencoder import KLAutoencoder, PixelUnshuffleAutoencoder
from lightning_artv.networks.preview import PreviewAutoencoder, load_tiny, previewing


def save_tiny(folder: Path, channels: int = 4, levels: int = 2) -> Path:
    torch.manual_seed(1)
    AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(8,) * levels,
        decoder_block_out_channels=(8,) * levels,
        num_encoder_blocks=(1,) * levels,
        num_decoder_blocks=(1,) * levels,
    ).save_pretrained(folder)
    return folder


def test_it_encodes_as_ever_and_decodes_as_diffusers_does(sd_folder: Path, tmp_path: Path) -> None:
    own, tiny = KLAutoencoder(str(sd_folder)), load_tiny(str(save_tiny(tmp_path / "tiny")))
    preview = PreviewAutoencoder(own, tiny, batch=2)
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    latents = preview.encode(pixels)
    assert torch.equal(latents, own.encode(pixels))
    expected = (tiny.decode(latents).sample.clamp(-1, 1) + 1) * 127.5
    assert torch.equal(preview.decode(latents), expected.round().to(torch.uint8))
    assert not torch.equal(preview.decode(latents), own.decode(latents))


def test_a_system_has_its_own_decoder_back_whatever_happens(tmp_path: Path) -> None:
    system = nn.Module()
    system.autoencoder = own = PixelUnshuffleAutoencoder(2)
    system.layer = nn.Linear(1, 1)
    tiny = load_tiny(str(save_tiny(tmp_path, channels=12)))
    with pytest.raises(KeyError), previewing(system, tiny):
        assert isinstance(system.autoencoder, PreviewAutoencoder)
        raise KeyError
    assert system.autoencoder is own
    with previewing(system, None):
        assert system.autoencoder is own


def test_a_decoder_of_other_latents_is_refused(tmp_path: Path) -> None:
    own = PixelUnshuffleAutoencoder(2)
    for channels, levels in ((4, 2), (12, 3)):
        folder = save_tiny(tmp_path / f"{channels}-{levels}", channels, levels)
        with pytest.raises(UserError, match="choose the small decoder of the system's own"):
            PreviewAutoencoder(own, load_tiny(str(folder)))
    refused = pytest.raises(UserError, match="has no autoencoder: leave the preview out")
    with refused, previewing(nn.Linear(1, 1), load_tiny(str(folder))):
        pass
    with pytest.raises(MissingWeightsError):
        load_tiny(str(tmp_path / "gone"))


def test_generate_decodes_a_preview(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "last.ckpt", SMALL)
    tiny = save_tiny(tmp_path / "tiny", channels=12)
    command = ["generate", "--checkpoint", str(checkpoint), "--prompt", "a dog", "--frames", "2"]
    for name, more in (("whole", []), ("preview", ["--preview", str(tiny)])):
        assert main([*command, "--output", str(tmp_path / name), *more]) == 0
    names = ("whole", "preview")
    whole, preview = (read_image(tmp_path / name / "00001.png", (32, 32)) for name in names)
    assert whole.shape == preview.shape and not torch.equal(whole, preview)
    gone = ["--output", str(tmp_path / "x"), "--preview", str(tmp_path / "gone")]
    assert main([*command, *gone]) == 3
    assert not (tmp_path / "x").exists()
