"""The typed batch that travels from the data to a system.

Axis legend, used everywhere in this project: `B` batch, `T` frames in time, `C` channels, `H`
height, `W` width, `L` text tokens, `D` token width. In a batch, windows are `N`, the frames of one
window `F` and the targets that share it `K`; `B = N * K`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoBatch:
    """Training examples: frames of windows, and which of them each example is made of.

    The frames of a window are stored once, however many targets and roles they serve. They are
    pixels, or what an autoencoder made of them (`Autoencoder.store`); the autoencoder alone turns
    either into latents (`lightning_artv.networks.autoencoder`).

    Attributes:
        frames: uint8 pixels in [0, 255] `[N, F, 3, H, W]`, or stored moments float16
            `[N, F, C or 2C, h, w]`.
        choice: int64 `[N, K, R]`, positions in its window of each target's frames, one per role;
            what the roles are only the system knows (`data.windows`).
        captions: one string a window; an empty string means "no text".
        keys: the sample's name in its shard, one per window, for messages and randomness.
        rates: frames per second of each window's frames, float32 `[N]`; None where nobody says it.
        position: how many samples of its rank's stream are taken once this batch is, unusable ones
            included; None for a batch that comes from no stream.
        padding: whether it only keeps this rank in step with others, and counts for nothing.
    """

    frames: Tensor
    choice: Tensor
    captions: tuple[str, ...]
    keys: tuple[str, ...]
    rates: Tensor | None = None
    position: int | None = None
    padding: bool = False

    def __post_init__(self) -> None:
        if self.frames.ndim != 5 or self.frames.dtype not in (torch.uint8, torch.float16):
            raise ValueError(
                "VideoBatch.frames must be uint8 pixels or float16 moments [N, F, C, H, W], got "
                f"{self.frames.dtype} {tuple(self.frames.shape)}."
            )
        n = self.frames.shape[0]
        if self.choice.ndim != 3 or len(self.choice) != n:
            raise ValueError(
                f"VideoBatch.choice has shape {tuple(self.choice.shape)}, expected ({n}, K, R)."
            )
        if len(self.captions) != n or len(self.keys) != n:
            raise ValueError(
                f"VideoBatch has {n} windows but {len(self.captions)} captions and "
                f"{len(self.keys)} keys."
            )

    @classmethod
    def cat(cls, batches: Sequence[VideoBatch]) -> VideoBatch:
        """The windows of all, in order; they come from no stream any more."""
        return cls(
            torch.cat([batch.frames for batch in batches]),
            torch.cat([batch.choice for batch in batches]),
            tuple(caption for batch in batches for caption in batch.captions),
            tuple(key for batch in batches for key in batch.keys),
            _joined([batch.rates for batch in batches]),
        )

    def __getitem__(self, windows: slice) -> VideoBatch:
        """Some windows, not copied; they come from no stream any more."""
        captions, keys = self.captions[windows], self.keys[windows]
        rates = None if self.rates is None else self.rates[windows]
        return VideoBatch(self.frames[windows], self.choice[windows], captions, keys, rates)

    def __len__(self) -> int:
        """Training examples, `B = N * K`."""
        return self.choice.shape[0] * self.choice.shape[1]

    @property
    def targets_per_window(self) -> int:
        """K."""
        return self.choice.shape[1]

    def gather(self, values: Tensor) -> Tensor:
        """`[N, F, ...]`, something for each frame of each window, to `[B, R, ...]`, one for each
        role of each target.
        """
        windows = torch.arange(len(values), device=values.device)[:, None, None]
        return values[windows, self.choice].flatten(0, 1)

    def each_target(self, values: Sequence[str]) -> tuple[str, ...]:
        """One value per window to one per target."""
        return tuple(value for value in values for _ in range(self.targets_per_window))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VideoBatch:
        """The same batch with its tensors on `device` (Lightning calls this)."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> VideoBatch:
        """The same batch in page-locked memory (the DataLoader calls this)."""
        return self._map(lambda x: x.pin_memory())

    def _map(self, f) -> VideoBatch:  # type: ignore[no-untyped-def]
        rates = None if self.rates is None else f(self.rates)
        return dataclasses.replace(self, frames=f(self.frames), choice=f(self.choice), rates=rates)


def _joined(rates: Sequence[Tensor | None]) -> Tensor | None:
    known = [rate for rate in rates if rate is not None]
    return torch.cat(known) if known and len(known) == len(rates) else None
