"""Which frames condition a frame, and how conditions are left out (paper Sec. 3.1, 3.4, 4).
Pure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FrameConditions:
    """The set R^i of Eq. 1 in latents, with what has been dropped.

    Attributes:
        references: frames i-1 and i-2, as the networks see them, `[B, 2, C, h, w]`; zeros where
            dropped.
        anchor: `[B, C, h, w]`; zeros where dropped.
        noise_level: int64 `[B]`, the augmentation that both carry.
        y_ref: the clean latent of frame i-1, for the static noise, `[B, C, h, w]`.
        has_reference: bool `[B]`; where False the mask is 0: there is nothing to copy.
    """

    references: Tensor
    anchor: Tensor
    noise_level: Tensor
    y_ref: Tensor
    has_reference: Tensor

    @classmethod
    def blank(cls, latents: Tensor, level: Tensor) -> FrameConditions:
        """Neither references nor anchor, for frames of the shape of `latents` `[B, C, h, w]`."""
        nothing = torch.zeros_like(latents)
        nowhere = torch.zeros(len(level), dtype=torch.bool, device=level.device)
        return cls(torch.stack([nothing, nothing], dim=1), nothing, level, nothing, nowhere)


def without_references(conditions: FrameConditions, drop: Tensor) -> FrameConditions:
    """Blank the references of the rows where `drop` (bool `[B]`) is True, and close their mask."""
    return dataclasses.replace(
        conditions,
        references=conditions.references.masked_fill(drop.view(-1, 1, 1, 1, 1), 0.0),
        has_reference=conditions.has_reference & ~drop,
    )


def without_anchor(conditions: FrameConditions, drop: Tensor) -> FrameConditions:
    """Blank the anchor of the rows where `drop` (bool `[B]`) is True."""
    return dataclasses.replace(
        conditions, anchor=conditions.anchor.masked_fill(drop.view(-1, 1, 1, 1), 0.0)
    )


def without_text(captions: tuple[str, ...], drop: Tensor) -> tuple[str, ...]:
    """The empty caption where `drop` (bool `[B]`, on the CPU) is True."""
    return tuple("" if d else c for c, d in zip(captions, drop.tolist(), strict=True))


@dataclass(frozen=True)
class History:
    """The latents that the next frame is generated from: constant memory, however long the video.

    Attributes:
        previous, before: frames i-1 and i-2, `[B, C, h, w]`; at the start both are the key frame.
        anchor: the global anchor, `[B, C, h, w]`.
    """

    previous: Tensor
    before: Tensor
    anchor: Tensor

    @classmethod
    def start(cls, key_frame: Tensor) -> History:
        """After the first frame: it is repeated as i-2, and it is the anchor."""
        return cls(key_frame, key_frame, key_frame)

    def push(self, frame: Tensor) -> History:
        """After another frame."""
        return dataclasses.replace(self, previous=frame, before=self.previous)

    def anchored_on_last(self) -> History:
        """Take the last frame as the new anchor (a storyboard's segment)."""
        return dataclasses.replace(self, anchor=self.previous)

    def references(self) -> Tensor:
        """`[B, 2, C, h, w]`: frames i-1 and i-2."""
        return torch.stack([self.previous, self.before], dim=1)
