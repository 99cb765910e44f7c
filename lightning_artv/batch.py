"""The typed batch that travels from the data to a system.

Axis legend, used everywhere in this project: `B` batch, `T` frames in time, `C` channels, `H`
height, `W` width, `L` text tokens, `D` token width. Pixels in a batch are uint8 in [0, 255]; the
autoencoder alone turns them into latents (`lightning_artv.networks.autoencoder`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoBatch:
    """One training example a row: a frame to generate and what it is generated from (paper Sec.
    3.1).

    Attributes:
        target: the frame y^i, uint8 `[B, 3, H, W]`.
        references: frames i-1 and i-2, in this order, uint8 `[B, 2, 3, H, W]`.
        anchor: the global anchor frame, uint8 `[B, 3, H, W]`.
        captions: one string a row; an empty string means "no text".
        keys: the sample's name in its shard, for messages.
    """

    target: Tensor
    references: Tensor
    anchor: Tensor
    captions: tuple[str, ...]
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        b, c, h, w = self.target.shape
        expected = {"references": (b, 2, c, h, w), "anchor": (b, c, h, w)}
        for name, shape in expected.items():
            came = tuple(getattr(self, name).shape)
            if came != shape:
                raise ValueError(f"VideoBatch.{name} has shape {came}, expected {shape}.")
        if len(self.captions) != b or len(self.keys) != b:
            raise ValueError(
                f"VideoBatch has {b} targets but {len(self.captions)} captions and "
                f"{len(self.keys)} keys."
            )
        for name in ("target", "references", "anchor"):
            if getattr(self, name).dtype != torch.uint8:
                raise ValueError(
                    f"VideoBatch.{name} must be uint8 in [0, 255], got {getattr(self, name).dtype}."
                )

    def __len__(self) -> int:
        return self.target.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VideoBatch:
        """The same batch with its tensors on `device` (Lightning calls this)."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> VideoBatch:
        """The same batch in page-locked memory (the DataLoader calls this)."""
        return self._map(lambda x: x.pin_memory())

    def _map(self, f) -> VideoBatch:  # type: ignore[no-untyped-def]
        return dataclasses.replace(
            self, target=f(self.target), references=f(self.references), anchor=f(self.anchor)
        )
