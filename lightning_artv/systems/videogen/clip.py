"""One clip of one stage, from noise to clean latents, under guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lightning_artv.diffusion.guidance import branches
from lightning_artv.diffusion.noise import Generators, randn
from lightning_artv.diffusion.samplers import Sampled
from lightning_artv.systems.clips import guided
from lightning_artv.systems.videogen.denoiser import StageConditions, StageDenoiser
from lightning_artv.systems.videogen.settings import VideoGenSampling


def make_clip(
    denoiser: StageDenoiser,
    conditions: StageConditions,
    null_text: Tensor,
    settings: VideoGenSampling,
    generators: Generators,
    observe: Callable[[Sampled], None] | None = None,
) -> Tensor:
    """Clean latents `[B, T, C, h, w]` of one stage.

    Args:
        denoiser: that of the base where `conditions` have no `lower`.
        conditions: conditions of the clips; a `lower` without `level` has no noise.
        null_text: tokens of no text.
        settings: settings of sampling.
        generators: one per clip.
        observe: called after each denoising step.
    """
    lower, level = conditions.lower, conditions.level
    if lower is not None and level is None:
        level = torch.zeros(len(lower), dtype=torch.int64, device=lower.device)
        conditions = replace(conditions, level=level)
    guidance = settings.guidance if lower is None else settings.upper.guidance
    weights = guidance.weights()
    parts = [_without(conditions, name, null_text) for name in branches(weights)]
    denoise = guided(denoiser, _stacked(parts), weights)
    shape = (denoiser.clip_frames, *conditions.reference.shape[1:])
    noise = randn(generators, shape, conditions.reference.device)
    solver = settings.solver(stage=0 if lower is None else 1)
    return solver.sample(denoise, noise, denoiser.schedule, generators, observe)


def _without(conditions: StageConditions, name: str | None, null_text: Tensor) -> StageConditions:
    if name == "text":
        return replace(conditions, text=null_text)
    if name == "reference":
        return replace(conditions, reference=torch.zeros_like(conditions.reference))
    return conditions


def _stacked(parts: Sequence[StageConditions]) -> StageConditions:
    lower = [part.lower for part in parts if part.lower is not None]
    level = [part.level for part in parts if part.level is not None]
    return StageConditions(
        torch.cat([part.text for part in parts]),
        torch.cat([part.fps for part in parts]),
        torch.cat([part.reference for part in parts]),
        torch.cat(lower) if lower else None,
        torch.cat(level) if level else None,
    )
