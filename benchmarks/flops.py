"""`python -m benchmarks.flops`: what a full-size training sample and a generated frame cost.

Counted on meta tensors by torch's FLOP counter (1 multiply-add = 2 FLOP), with Stable Diffusion
2.1-base's shapes at 320x320 pixels: no weights, no GPU, no clock.
"""

from __future__ import annotations

import contextlib

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from lightning_artv.diffusion.guidance import branches
from lightning_artv.networks.unet import UNetSource
from lightning_artv.systems.artv.networks.adapter import ReferenceAdapter
from lightning_artv.systems.artv.networks.unet import ConditionedUNet
from lightning_artv.systems.artv.settings import Guidance

LATENT, PIXELS, STEPS = 40, 320, 50

UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
}


class Shapes(UNetSource):
    """Stable Diffusion 2.1-base's U-Net without its weights."""

    trained = True

    def config(self) -> dict[str, object]:
        return UNET

    def build(self, latent_channels: int) -> UNet2DConditionModel:
        return UNet2DConditionModel(**UNET, in_channels=latent_channels)


def main() -> None:
    """Print the table."""
    with torch.device("meta"):
        source = Shapes()
        dynamic = ConditionedUNet.around(source.build(4), 4, trained=True)
        mask = ConditionedUNet.around(source.build_scaled(4, 1, 0.5), 4)
        vae, text = AutoencoderKL(**VAE), CLIPTextModel(CLIPTextConfig(**TEXT))
        frame = torch.empty(1, 3, PIXELS, PIXELS)
        latent = torch.empty(1, 4, LATENT, LATENT)
        encode, decode = flops(lambda: vae.encode(frame)), flops(lambda: vae.decode(latent))
        words = flops(lambda: text(torch.empty(1, 77, dtype=torch.long)))
        train = sum(step(network, backward=True) for network in (dynamic, mask))
        evaluation = sum(step(network, backward=False) for network in (dynamic, mask))
        plain = flops(lambda: unconditioned(source))
        adapter = flops(lambda: ReferenceAdapter(8, UNET["block_out_channels"], True)(two(latent)))
    rows = {
        "plain U-Net, forward": plain,
        "adapter, forward": adapter,
        "autoencoder, encode a frame": encode,
        "autoencoder, decode a frame": decode,
        "text, a caption": words,
        "both networks, forward": evaluation,
        "both networks, forward and backward": train,
        "training sample from stored latents (text encoded)": train + words,
        "training sample, four frames encoded": train + words + 4 * encode,
    }
    for targets in (2, 4, 8):
        shared = (words + (targets + 3) * encode) / targets
        rows[f"training sample, windows of {targets} targets"] = train + shared
        rows[f"the same from stored latents ({targets})"] = train + words / targets
    evaluations = len(branches(vars(Guidance())))
    rows[f"generated frame, {STEPS} x {evaluations} evaluations, decoded"] = (
        STEPS * evaluations * evaluation + decode
    )
    for name, count in rows.items():
        print(f"{name:62} {count / 1e9:10.1f} GFLOP")


def flops(call) -> int:  # type: ignore[no-untyped-def]
    """FLOPs of calling it without gradients."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def step(network: ConditionedUNet, backward: bool) -> int:
    """FLOPs of one sample through a network, its adapter and its anchor encoder."""
    latent = torch.empty(1, 4, LATENT, LATENT)
    text, number = torch.empty(1, 77, 1024), torch.zeros(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, contextlib.ExitStack() as stack:
        if not backward:
            stack.enter_context(torch.no_grad())
        conditions = network.encode(torch.empty(1, 2, 4, LATENT, LATENT), latent, text, number)
        output = network(latent, number, conditions)
        if backward:
            output.sum().backward()
    return int(counter.get_total_flops())


def unconditioned(source: Shapes) -> None:
    """The U-Net as Stable Diffusion runs it."""
    latent = torch.empty(1, 4, LATENT, LATENT)
    source.build(4)(latent, torch.zeros(1, dtype=torch.long), torch.empty(1, 77, 1024))


def two(latent: torch.Tensor) -> torch.Tensor:
    """Two references on channels."""
    return torch.cat([latent, latent], dim=1)


if __name__ == "__main__":
    main()
