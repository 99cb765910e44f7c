"""Checkpoints of small systems, as `lightning fit` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lightning_artv.checkpoints.file import embedded_config
from lightning_artv.checkpoints.instantiate import instantiate_system

SMALL = {
    "class_path": "lightning_artv.systems.artv.system.ARTV",
    "init_args": {
        "unet": {
            "class_path": "lightning_artv.networks.unet.SmallUNet",
            "init_args": {"channels": [16, 32], "text_width": 16, "norm_groups": 8},
        },
        "autoencoder": {
            "class_path": "lightning_artv.networks.autoencoder.PixelUnshuffleAutoencoder",
            "init_args": {"factor": 2},
        },
        "text_encoder": {
            "class_path": "lightning_artv.networks.text_encoder.ByteTextEncoder",
            "init_args": {"width": 16},
        },
        "max_noise_level": 20,
        "sampling": {"steps": 2, "noise_level": 5},
    },
}

RESOLVED = {
    "seed_everything": 42,
    "model": {"system": SMALL, "lr": 0.00123, "betas": [0.9, 0.99]},
    "data": {"train": "shards/moving-dogs", "size": [16, 24], "fps": 4, "batch_size": 32},
    "trainer": {
        "max_steps": 700,
        "precision": "bf16-mixed",
        "default_root_dir": "outputs/x",
        "callbacks": [
            {"class_path": "lightning_artv.training.callbacks.ProgressLine"},
            {"class_path": "lightning_artv.training.ema.EMA", "init_args": {"decay": 0.997}},
        ],
    },
}


def sd_config(folder: Path) -> dict[str, Any]:
    networks = "lightning_artv.networks"
    parts = {
        "unet": f"{networks}.unet.PretrainedUNet",
        "autoencoder": f"{networks}.autoencoder.KLAutoencoder",
        "text_encoder": f"{networks}.text_encoder.CLIPTextEncoder",
    }
    arguments: dict[str, Any] = {
        name: {"class_path": path, "init_args": {"pretrained": str(folder)}}
        for name, path in parts.items()
    }
    arguments["sampling"] = {"steps": 2}
    return {"class_path": SMALL["class_path"], "init_args": arguments}


def write_checkpoint(path: Path, config: dict[str, Any], **changes: Any) -> Path:
    """As `lightning fit` writes it: trainable weights alone, raw and averaged."""
    torch.manual_seed(0)
    system = instantiate_system(config)
    raw = {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in named(system)}
    ema = {n: p.detach() + 0.1 * torch.randn_like(p) for n, p in named(system)}
    resolved = {**RESOLVED, "model": {**RESOLVED["model"], "system": config}}
    checkpoint = {
        "global_step": 650,
        "state_dict": {f"system.{n}": p for n, p in raw.items()},
        "ema": {"updates": 649, "weights": ema},
        "lightning_artv": embedded_config(resolved),
    }
    torch.save({**checkpoint, **changes}, path)
    return path


def named(system: Any) -> Any:
    return system.trainable_parameters().items()
