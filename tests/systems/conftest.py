"""A tiny ART•V and batches for it."""

from __future__ import annotations

import pytest
import torch
from flat_artv import build
from frame_batch import frame_batch
from make_system import MakeSystem

from lightning_artv.batch import VideoBatch
from lightning_artv.networks.autoencoder import PixelUnshuffleAutoencoder
from lightning_artv.networks.text_encoder import ByteTextEncoder
from lightning_artv.networks.unet import SmallUNet
from lightning_artv.systems.artv import ARTV


@pytest.fixture
def make_system() -> MakeSystem:
    """Builds a seeded tiny system; `opened=True` gives every zero-initialised part random
    weights.
    """

    def make(opened: bool = False, **options: object) -> ARTV:
        torch.manual_seed(0)
        system = build(
            SmallUNet((16, 32), text_width=16, norm_groups=8),
            PixelUnshuffleAutoencoder(2),
            ByteTextEncoder(16),
            **options,  # type: ignore[arg-type]
        )
        if opened:
            for parameter in system.parameters():
                if parameter.requires_grad and parameter.abs().max() == 0:
                    torch.nn.init.normal_(parameter, std=0.2)
        return system.eval()

    return make


@pytest.fixture
def batch() -> VideoBatch:
    """Three random samples of 16x16 pixels."""
    g = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (3, 4, 3, 16, 16), dtype=torch.uint8, generator=g)
    return frame_batch(pixels, ("a dog", "a cat", ""), ("k0", "k1", "k2"))
