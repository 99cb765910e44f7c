"""Bad steps are noticed before they reach the weights."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_artv.errors import UserError
from lightning_artv.training.optim import gradient_norm


@runtime_checkable
class Watched(Protocol):
    """The part of a module that is watched: keys and losses `[B]` of its last training batch."""

    last_losses: tuple[tuple[str, ...], Tensor]


_LEAST_NORMS = 20
_NAMED = 64


class StepGuard(Callback):
    """Stops before an optimiser step whose loss or gradient is not finite; reports norms that jump.

    All ranks decide together, once per step, accumulated micro-batches included. Messages name the
    samples: those whose loss is not finite where some are, else all of the step. Logs
    `train/gradient_norm` (before clipping), and the counts `train/skipped_steps` and
    `train/gradient_spikes` once there are any. With a `GradScaler` an overflowing gradient is the
    scaler's business until its scale is down to 1.

    `VideoModule` adds this callback with its defaults where none is configured.

    Args:
        skip_non_finite: so many steps of the run are skipped instead of ending it; they count as
            steps but change no weight.
        spike_factor: a gradient norm above this many times the running median is a spike; None
            looks for none.
        spike_window: steps that the median is over; it begins after 20.
        skip_spikes: skip a spike's step too.

    Attributes:
        norm: of the gradients of the step that is being made, before clipping.

    Raises:
        UserError: an impossible option; a loss or a gradient that is not finite.
    """

    norm: Tensor | None = None

    def __init__(
        self,
        skip_non_finite: int = 0,
        spike_factor: float | None = 10.0,
        spike_window: int = 200,
        skip_spikes: bool = False,
    ) -> None:
        if skip_non_finite < 0 or spike_window < _LEAST_NORMS:
            raise UserError(
                "StepGuard.skip_non_finite must not be negative, and spike_window at least "
                f"{_LEAST_NORMS}."
            )
        if spike_factor is not None and spike_factor <= 1:
            raise UserError(f"StepGuard.spike_factor must be above 1, got {spike_factor}.")
        self.skip_non_finite = skip_non_finite
        self.spike_factor = spike_factor
        self.skip_spikes = skip_spikes
        self.skipped = 0
        self.spikes = 0
        self._norms: deque[float] = deque(maxlen=spike_window)
        self._losses: list[tuple[tuple[str, ...], Tensor]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "spikes": self.spikes, "norms": list(self._norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.spikes = state_dict["skipped"], state_dict["spikes"]
        self._norms.extend(state_dict["norms"])

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        assert isinstance(pl_module, Watched)
        self._losses.append(pl_module.last_losses)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.norm = norm = gradient_norm(dict(pl_module.named_parameters()))
        finite = torch.stack([losses.isfinite().all() for _, losses in self._losses]).all()
        value, finite_here = torch.stack([norm, finite.to(norm)]).tolist()
        finite_loss = bool(finite_here)
        if trainer.world_size > 1:
            finite_loss = trainer.strategy.reduce_boolean_decision(finite_loss)
        if not finite_loss:
            self._non_finite(trainer, optimizer, "loss")
        elif not math.isfinite(value) and _scale(trainer) <= 1:
            self._non_finite(trainer, optimizer, "gradient")
        elif math.isfinite(value):
            self._watch(trainer, optimizer, value)
        self._losses = []
        self._log(pl_module, norm)

    def _log(self, module: LightningModule, norm: Tensor) -> None:
        module.log("train/gradient_norm", norm)
        for name, count in (("skipped_steps", self.skipped), ("gradient_spikes", self.spikes)):
            if count:
                module.log(f"train/{name}", float(count))

    def _non_finite(self, trainer: Trainer, optimizer: torch.optim.Optimizer, what: str) -> None:
        keys = self._keys(trainer, only_bad=what == "loss")
        problem = f"The {what} is not finite at step {trainer.global_step} for {keys}"
        if self.skipped >= self.skip_non_finite:
            limit = f" after {self.skipped} skipped steps" if self.skipped else ""
            raise UserError(
                f"{problem}{limit}: lower model.lr, set trainer.gradient_clip_val or remove these "
                "samples; no weight was changed by this step."
            )
        self.skipped += 1
        rank_zero_warn(f"{problem}: step skipped ({self.skipped} of {self.skip_non_finite}).")
        optimizer.zero_grad(set_to_none=True)

    def _watch(self, trainer: Trainer, optimizer: torch.optim.Optimizer, norm: float) -> None:
        median = statistics.median(self._norms) if len(self._norms) >= _LEAST_NORMS else math.inf
        self._norms.append(norm)
        if self.spike_factor is None or norm <= self.spike_factor * median:
            return
        self.spikes += 1
        rank_zero_warn(
            f"The gradient norm {norm:.3g} at step {trainer.global_step} is above "
            f"{self.spike_factor:g} times its running median {median:.3g}, for "
            f"{self._keys(trainer)}{': step skipped' if self.skip_spikes else ''}."
        )
        if self.skip_spikes:
            optimizer.zero_grad(set_to_none=True)

    def _keys(self, trainer: Trainer, only_bad: bool = False) -> str:
        """The step's samples over all ranks, which must all ask."""
        names = [
            key
            for keys, losses in self._losses
            for key, loss in zip(keys, losses.tolist(), strict=True)
            if not only_bad or not math.isfinite(loss)
        ]
        if trainer.world_size > 1:
            every: list[list[str]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(every, names)
            names = [name for rank in every for name in rank]
        return listed(names)


def listed(names: Sequence[str]) -> str:
    """Different names, in order; of very many the first."""
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - _NAMED} more" if len(different) > _NAMED else ""
    return ", ".join(different[:_NAMED]) + more


def _scale(trainer: Trainer) -> float:
    """The loss scale of float16 training; 1 without a scaler."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return float(scaler.get_scale()) if scaler is not None else 1.0
