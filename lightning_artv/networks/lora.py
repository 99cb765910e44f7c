"""Low-rank updates (LoRA, through peft) of a trained U-Net whose own weights stay as they are."""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import nn

from lightning_artv.errors import UserError

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The linear maps of every attention."""


def add_lora(unet: UNet2DConditionModel, rank: int) -> None:
    """Freeze `unet` and give its attentions trainable updates, which start at zero, in place.

    Args:
        rank: rank of the updates; they are scaled by 1 (alpha = rank).

    Raises:
        UserError: an impossible rank, or peft is not installed.
    """
    if rank < 1:
        raise UserError(f"lora_rank must be at least 1, or null for no LoRA, got {rank}.")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("lora_rank needs peft: pip install 'lightning-artv[lowmem]'.") from error
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS))
    inject_adapter_in_model(config, unet)


def merge_lora(module: nn.Module) -> None:
    """Add the updates to the weights they belong to; the layers are then ordinary ones, in place.

    Nothing happens where there is no LoRA.
    """
    found = {name: m for name, m in module.named_modules() if hasattr(m, "lora_A")}
    for name, layer in found.items():
        layer.merge()
        parent, _, attribute = name.rpartition(".")
        module.get_submodule(parent).register_module(attribute, layer.get_base_layer())
    for part in module.modules():
        if found and "peft_config" in vars(part):
            del part.peft_config
