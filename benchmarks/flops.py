"""`python -m benchmarks.flops`: what a full-size training sample and a generated frame cost.

Counted on meta tensors by torch's FLOP counter (1 multiply-add = 2 FLOP), with Stable Diffusion
2.1-base's shapes at 320x320 pixels: no weights, no GPU, no clock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from diffusers import AutoencoderKL
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.counters import denoising_calls, frame_cost
from benchmarks.documents import Row, print_rows
from benchmarks.full_size import FAST, FULL, PAPER, SMALL, UNET, Shapes, build
from lightning_artv.systems.artv.networks.adapter import ReferenceAdapter
from lightning_artv.systems.artv.networks.unet import ConditionedUNet

LATENT, PIXELS = FULL.latent, FULL.pixels

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


def costs() -> dict[str, int]:
    """FLOPs of the parts, by name."""
    with torch.device("meta"):
        source = Shapes()
        dynamic = ConditionedUNet.around(source.build(4), 4, trained=True)
        mask = ConditionedUNet.around(source.build_scaled(4, 1, 0.5), 4)
        vae, text = AutoencoderKL(**VAE), CLIPTextModel(CLIPTextConfig(**TEXT))
        latent = torch.empty(1, 4, LATENT, LATENT)
        adapter = ReferenceAdapter(8, UNET["block_out_channels"], True)
        return {
            "plain": flops(lambda: unconditioned(source)),
            "adapter": flops(lambda: adapter(two(latent))),
            "encode": encoding(vae),
            "decode": flops(lambda: vae.decode(latent)),
            "text": flops(lambda: text(torch.empty(1, 77, dtype=torch.long))),
            "evaluation": sum(step(network, backward=False) for network in (dynamic, mask)),
            "train": sum(step(network, backward=True) for network in (dynamic, mask)),
        }


def encoding(vae: AutoencoderKL | None = None) -> int:
    """FLOPs of encoding a frame."""
    with torch.device("meta"):
        vae, frame = vae or AutoencoderKL(**VAE), torch.empty(1, 3, PIXELS, PIXELS)
        return flops(lambda: vae.encode(frame))


def rows() -> Iterator[Row]:
    """All costs, in GFLOP."""
    cost, full, small = costs(), build(FULL, "meta"), build(SMALL, "cpu")
    train, words, encode = cost["train"], cost["text"], cost["encode"]
    found = {
        "plain U-Net, forward": cost["plain"],
        "adapter, forward": cost["adapter"],
        "autoencoder, encode a frame": encode,
        "autoencoder, decode a frame": cost["decode"],
        "text, a caption": words,
        "both networks, forward": cost["evaluation"],
        "both networks, forward and backward": train,
        "training sample from stored latents (text encoded)": train + words,
        "training sample, four frames encoded": train + words + 4 * encode,
    }
    for targets in (2, 4, 8):
        shared = (words + (targets + 3) * encode) / targets
        found[f"training sample, windows of {targets} targets"] = train + shared
        found[f"the same from stored latents ({targets})"] = train + words / targets
    for name, settings in {"exact (50 x 4 evaluations)": PAPER, "fast": FAST}.items():
        made = frame_cost(full, FULL, denoising_calls(small, SMALL, settings))
        found[f"generated frame, {name}, decoded"] = made + cost["decode"]
    for name, count in found.items():
        yield f"{name}, GFLOP", f"{count / 1e9:.1f}"


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
    print_rows(rows())
