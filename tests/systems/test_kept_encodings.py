"""What does not change between denoising steps is computed once, and changes no number."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flat_artv import full_size
from torch import Tensor, nn
from torch._dynamo.utils import counters

from benchmarks.counters import frame_flops
from benchmarks.full_size import FULL, PAPER, SMALL, build
from lightning_artv.diffusion.noise import generators_for
from lightning_artv.speed.blocks import compile_blocks
from lightning_artv.systems.artv import ARTV
from lightning_artv.systems.artv.networks.tokens import Joined, Tokens
from lightning_artv.systems.artv.settings import ARTVSampling, Guidance
from lightning_artv.systems.base import DenoisingStep, Segment

BEFORE = 81.476e12
"""FLOPs of a frame of 50 steps when every step made all keys and values anew."""
PAPERS = ARTVSampling(steps=4, guidance=Guidance(0.25, 0.25, 2.0), noise_level=20)


def opened(system: ARTV) -> ARTV:
    """Nothing that is new in the networks is zero any more."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.denoiser.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))
    return system.eval()


@pytest.fixture(params=["small", "pretrained"])
def system(request: Any, make_system: Callable[..., ARTV], sd_folder: Path) -> ARTV:
    """Our small U-Net, and diffusers' with Stable Diffusion's layers."""
    made = make_system() if request.param == "small" else full_size(sd_folder)
    return opened(made)


def steps(system: ARTV, settings: ARTVSampling, frames: int = 4) -> list[Tensor]:
    """Clean latents of all denoising steps of a video of two segments."""
    seen: list[DenoisingStep] = []
    segments = [Segment(("a dog", "b"), frames - 2), Segment(("a cat", ""), 2)]
    first = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    made = system.generate(
        segments, generators_for(3, ["x", "y"]), (16, 16), first, settings, seen.append
    )
    assert len(list(made)) == frames
    return [step.clean for step in seen]


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attention makes its keys and values at every call."""
    for kind in (Tokens, Joined):
        monkeypatch.setattr(kind, "keys_values", lambda tokens, _, make: make(tokens.values))


def test_kept_keys_and_values_change_no_prediction(
    system: ARTV, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    kept = steps(system, PAPERS)
    torch.manual_seed(0)
    forget(monkeypatch)
    made_anew = steps(system, PAPERS)
    for a, b in zip(kept, made_anew, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert (kept[0] - kept[-1]).abs().max() > 0.1


def test_keys_and_values_are_made_once_a_frame_of_the_anchor_and_once_a_segment_of_the_text(
    system: ARTV,
) -> None:
    calls = {"attn2.to_k": 0, "to_k_anchor": 0}
    for name, module in system.denoiser.dynamic.named_modules():
        for end in calls:
            if name.endswith(end) and isinstance(module, nn.Linear):
                module.register_forward_hook(
                    lambda *_, end=end: calls.__setitem__(end, calls[end] + 1)
                )
    attentions = sum(n.endswith("attn2") for n, _ in system.denoiser.dynamic.named_modules())
    steps(system, PAPERS)  # 3 frames are generated
    assert calls["to_k_anchor"] == attentions * (3 + 1)  # and once without an anchor
    assert calls["attn2.to_k"] == attentions * (2 + 1)  # two segments, and no text


def test_training_makes_keys_and_values_anew_and_gradients_reach_them(system: ARTV) -> None:
    tokens = Tokens(torch.randn(1, 3, 4))
    linear = nn.Linear(4, 4)
    for _ in range(2):
        key, _ = tokens.keys_values(0, lambda x: (linear(x), linear(x)))
        key.sum().backward()
    assert not tokens.kept and linear.weight.grad is not None


def test_a_frame_at_full_size_costs_nine_percent_less() -> None:
    full = build(FULL, "meta")
    one, two = (
        frame_flops(full, FULL, dataclasses.replace(PAPER, steps=count)) for count in (1, 2)
    )
    assert one + (PAPER.steps - 1) * (two - one) <= 0.91 * BEFORE


def test_a_condition_of_weight_zero_costs_nothing() -> None:
    costs = []
    system = build(SMALL, "cpu")
    for weights in ((0.0, 0.0, 0.0), (0.25, 0.0, 0.0), (0.25, 0.25, 0.0), (0.25, 0.25, 6.5)):
        settings = dataclasses.replace(PAPER, guidance=Guidance(*weights))
        one, two = (
            frame_flops(system, SMALL, dataclasses.replace(settings, steps=count))
            for count in (1, 2)
        )
        costs.append(two - one)
    assert [cost / costs[0] for cost in costs] == [1, 2, 3, 4]


def test_compiled_blocks_keep_too_without_graph_breaks(make_system: Callable[..., ARTV]) -> None:
    torch._dynamo.reset()
    counters.clear()
    system = opened(make_system(static_noise="none"))  # one U-Net: half as long to compile
    settings = dataclasses.replace(PAPERS, steps=2, guidance=Guidance(0, 0, 0))
    torch.manual_seed(0)
    eager = steps(system, settings)
    compile_blocks(system, "eager")
    torch.manual_seed(0)
    compiled = steps(system, settings)
    for a, b in zip(eager, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == len(system.blocks())
    torch._dynamo.reset()
