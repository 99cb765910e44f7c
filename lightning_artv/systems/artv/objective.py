"""What a training example is and what its error counts (paper Sec. 3.3, 4; Eq. 3, 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from lightning_artv.diffusion.loss import clean_error, loss_weights
from lightning_artv.diffusion.noise import Generators, rand, randint, randn
from lightning_artv.diffusion.schedule import NoiseSchedule, broadcast
from lightning_artv.diffusion.transfer import to_device
from lightning_artv.systems.artv.denoiser import ARTVDenoiser
from lightning_artv.systems.artv.references import (
    FrameConditions,
    without_anchor,
    without_references,
    without_text,
)
from lightning_artv.systems.artv.settings import ARTVTraining
from lightning_artv.systems.artv.windows import Roles


@dataclass(frozen=True)
class Noised:
    """Targets and what the networks see of them.

    Attributes:
        y0: `[B, C, h, w]`.
        y_t: noised (Eq. 3), same shape.
        t: timesteps, int64 `[B]`.
    """

    y0: Tensor
    y_t: Tensor
    t: Tensor

    @classmethod
    def draw(cls, schedule: NoiseSchedule, y0: Tensor, generators: Generators) -> Noised:
        """At timesteps uniform over the schedule."""
        t = randint(generators, 0, len(schedule), y0.device)
        return cls(y0, schedule.add_noise(y0, randn(generators, y0.shape[1:], y0.device), t), t)

    def blind(self, rows: Tensor, last: int, generators: Generators) -> Noised:
        """The same, where `rows` (bool `[B]`) at the timestep `last` in noise alone."""
        noise = randn(generators, self.y0.shape[1:], self.y0.device)
        y_t = noise.where(broadcast(rows, noise), self.y_t)
        return Noised(self.y0, y_t, self.t.masked_fill(rows, last))


def conditioned(
    denoiser: ARTVDenoiser,
    options: ARTVTraining,
    roles: Roles,
    captions: tuple[str, ...],
    generators: Generators,
    first: Tensor | None = None,
) -> tuple[FrameConditions, tuple[str, ...]]:
    """Augmented conditions and captions, some dropped.

    Args:
        first: bool `[B]`, which frames follow nothing; None: drawn.
    """
    device = roles.anchor.device
    level = randint(generators, 0, denoiser.masking.max_noise_level + 1, device)
    conditions = denoiser.condition(roles.references, roles.anchor, level, generators)
    chance = rand(generators, (4,))  # here: which captions are dropped is asked on the host
    drop_text = chance[:, 2] < options.condition_dropout
    chance = to_device(chance, device)
    drop_references, drop_anchor = (chance[:, :2] < options.condition_dropout).unbind(1)
    if first is None:
        first = chance[:, 3] < options.first_frame_share
    conditions = without_anchor(conditions, drop_anchor | first)
    conditions = without_references(conditions, drop_references | first)
    return conditions, without_text(captions, drop_text)


def weighted_error(
    schedule: NoiseSchedule, options: ARTVTraining, clean: Tensor, noised: Noised, known: Tensor
) -> Tensor:
    """What each sample counts in the loss, float32 `[B]`.

    Args:
        clean: predicted.
        known: bool `[B]`, which samples follow references.
    """
    weights = loss_weights(schedule, noised.t, options.loss_weighting)
    weights = weights.where(known, options.unreferenced_weight * weights)
    error = clean_error(clean, noised.y0)
    if options.huber:
        error = clean_error(clean, noised.y0, options.huber).where(known, error)
    return weights * error
