"""Training on references that the model made itself (scheduled sampling, Bengio et al. 2015).

In generation each frame follows frames that the model made, with their small faults; trained on
true frames alone it has never seen one, and its faults add up: the video drifts. Where several
targets of a training window follow each other, all but the first can be given what the model makes
of the targets before them instead of the true frames; the target stays true, so that the model
learns to mend its own faults. (The paper's remedy, noise augmentation, stands in for those faults
with noise; Sec. 3.3.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, rand, randn
from lightning_artv.diffusion.samplers import Sampler
from lightning_artv.diffusion.schedule import broadcast
from lightning_artv.errors import UserError
from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded


@dataclass(frozen=True)
class OwnFrames:
    """How frames to train on are made.

    Attributes:
        share: probability, per window, that its targets are replaced.
        steps: denoising steps per frame.
        noise_level: augmentation of references and anchor, as in generation.
        clip: clamp of the predicted clean latents; None for none.
    """

    share: float
    steps: int
    noise_level: int
    clip: float | None


@torch.no_grad()
def own_references(
    denoiser: ARTVDenoiser,
    batch: VideoBatch,
    latents: Tensor,
    text: Tensor,
    how: OwnFrames,
    generators: Generators,
) -> Tensor:
    """Replace targets by what `denoiser` makes of them, window by window, one after another.

    Args:
        denoiser: makes the frames.
        batch: says which frames of a window follow which.
        latents: true `[N, F, C, h, w]`.
        text: tokens `[N, L, D]`.
        how: how many are made, and how.
        generators: one per window.

    Returns:
        `latents`, detached; in a share `how.share` of the windows the first K - 1 targets are
        replaced.

    Raises:
        UserError: windows of one target.
    """
    n, k = batch.choice.shape[:2]
    if k < 2:
        raise UserError(
            "own_references needs windows of several targets: set "
            "data.windows.init_args.targets to 2 or more."
        )
    chosen = rand(generators, (), latents.device) < how.share
    level = torch.full((n,), how.noise_level, device=latents.device)
    seen, rows = latents.detach().clone(), torch.arange(n, device=latents.device)
    for target in range(k - 1):
        place, first, second, anchor = batch.choice[:, target].unbind(1)
        references = torch.stack([seen[rows, first], seen[rows, second]], dim=1)
        conditions = denoiser.condition(references, latents[rows, anchor], level, generators)
        made = _make(denoiser, denoiser.encode((conditions, text)), how, generators)
        true = seen[rows, place]
        seen[rows, place] = made.to(seen.dtype).where(broadcast(chosen, made), true)
    return seen


def _make(
    denoiser: ARTVDenoiser, encoded: Encoded, how: OwnFrames, generators: Generators
) -> Tensor:
    """Latents `[N, C, h, w]` from noise, by the sampler of the system's generation."""

    def denoise(y_t: Tensor, t: int) -> Tensor:
        timesteps = torch.full((len(y_t),), t, device=y_t.device)
        return denoiser.denoise(y_t, timesteps, encoded).clean

    noise = randn(generators, encoded.y_ref.shape[1:], encoded.y_ref.device)
    sampler = Sampler(how.steps, spacing="trailing", set_alpha_to_one=True, clip=how.clip)
    return sampler.sample(denoise, noise, denoiser.schedule)
