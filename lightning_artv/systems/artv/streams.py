"""Training windows that stay in flight: one target per step, each after the system's own frame.

In generation every frame follows frames that the system made itself, for as long as the video is.
A window in flight lives through that: each training step trains the next target of every window,
and what the step has made of it anyway becomes the next step's reference, at the cost of no other
forward pass. A window of K targets so ends on a reference that is the K-th of a chain, made by
weights that are at most K steps old. With N new windows a batch, N * K targets are trained a step,
as many as without streams.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.transfer import to_device
from lightning_artv.systems.artv.windows import Roles


@dataclass(frozen=True)
class Flight:
    """S windows of K targets each, of F frames; nothing in it is changed in place.

    Attributes:
        latents: `[S, F, C, h, w]`; of a window that follows the system's own frames, those are in
            the place of the targets that have been trained.
        choice: int64 `[S, K, 4]`, see `VideoBatch.choice`.
        age: int64 `[S]`, targets trained so far; on the CPU, where it is asked which windows stay.
        first: bool `[S]`; all targets of the window are first frames, which follow nothing.
        own: bool `[S]`; the window follows the system's own frames.
        captions, keys: S of each.
    """

    latents: Tensor
    choice: Tensor
    age: Tensor
    first: Tensor
    own: Tensor
    captions: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def start(cls, batch: VideoBatch, latents: Tensor, first: Tensor, own: Tensor) -> Flight:
        """A batch's windows, before their first targets."""
        age = torch.zeros(len(latents), dtype=torch.int64)
        return cls(latents.detach(), batch.choice, age, first, own, batch.captions, batch.keys)

    def joined(self, others: Flight) -> Flight:
        """With others behind."""
        tensors = {
            name: torch.cat([getattr(self, name).to(tensor.device), tensor])
            for name, tensor in others._tensors().items()
        }
        return Flight(
            captions=self.captions + others.captions, keys=self.keys + others.keys, **tensors
        )

    def roles(self) -> Roles:
        """What the next target of each window is made of."""
        rows = torch.arange(len(self.age), device=self.latents.device)
        age = to_device(self.age, self.latents.device)
        frames = self.latents[rows[:, None], self.choice[rows, age]]
        return Roles(frames[:, 0], frames[:, 1:3], frames[:, 3])

    def after(self, made: Tensor) -> Flight:
        """One target later; windows without another one have left.

        Args:
            made: the system's `[S, C, h, w]`; where it is not finite the true frame stays.
        """
        device = self.latents.device
        stays = (self.age + 1 < self.choice.shape[1]).nonzero().flatten()
        later, made = self._only(stays), made[to_device(stays, device)]
        rows = torch.arange(len(later.age), device=device)
        place = later.choice[rows, to_device(later.age, device), 0]
        follows = later.own & made.flatten(1).isfinite().all(dim=1)
        true = later.latents[rows, place]
        later.latents[rows, place] = made.to(true.dtype).where(follows.view(-1, 1, 1, 1), true)
        return dataclasses.replace(later, age=later.age + 1)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; `Flight(**state)` is the inverse."""
        tensors = {name: tensor.cpu() for name, tensor in self._tensors().items()}
        return {**tensors, "captions": list(self.captions), "keys": list(self.keys)}

    def _only(self, rows: Tensor) -> Flight:
        """A copy of some; `rows` int64 on the CPU."""
        kept = rows.tolist()
        return Flight(
            captions=tuple(self.captions[row] for row in kept),
            keys=tuple(self.keys[row] for row in kept),
            **{n: tensor[to_device(rows, tensor.device)] for n, tensor in self._tensors().items()},
        )

    def _tensors(self) -> dict[str, Tensor]:
        return {
            name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
