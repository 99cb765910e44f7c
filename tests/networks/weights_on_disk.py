"""A Stable Diffusion's parts on disk, as their libraries write them, and how they compare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

PARTS: dict[str, tuple[type[Any], str]] = {
    "unet": (UNet2DConditionModel, "diffusion_pytorch_model"),
    "vae": (AutoencoderKL, "diffusion_pytorch_model"),
    "text_encoder": (CLIPTextModel, "model"),
}
EVERY_PART = pytest.mark.parametrize("part", PARTS)


def plain(folder: Path, part: str) -> Any:
    return PARTS[part][0].from_pretrained(folder, subfolder=part)


def emptied(sd_folder: Path, part: str, target: Path) -> Path:
    """A copy of one part without its weights, in a Stable Diffusion folder."""
    shutil.copytree(sd_folder / part, target / part)
    (target / part / f"{PARTS[part][1]}.safetensors").unlink()
    return target


def same(a: nn.Module, b: nn.Module, half: bool = False) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    assert all(t.dtype == torch.float32 for t in ours.values() if t.is_floating_point())
    rounded = {
        k: v.half().float() if half and v.is_floating_point() else v for k, v in theirs.items()
    }
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], rounded[k]) for k in ours)


LAYOUTS = ["fp16", "non_ema", "shards", "shards of fp16"]


def save(model: nn.Module, folder: Path, layout: str) -> None:
    """Write a model as its library does."""
    options: dict[str, Any] = {}
    if layout != "shards":
        options["variant"] = layout.removeprefix("shards of ")
    if "shards" in layout:
        options["max_shard_size"] = sum(4 * p.numel() for p in model.parameters()) // 3
    model.save_pretrained(folder, **options)  # type: ignore[operator]
