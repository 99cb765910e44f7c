"""Denoising with staged guidance, DSG (paper Sec. 4.3, Eq. 8): how long a clip's first frames
repeat what the frames of the clip before went through.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor


def guided_steps(frame: int, steps: int, prompt_frames: int, share: float) -> int:
    """After how many of the first steps frame j is replaced: those with `s < beta S (1 - j/M)`.

    Eq. 8 says so in t, where the count would depend on the spacing of the timesteps.

    Args:
        frame: j, 0 .. N-1.
        steps: S, denoising steps per clip.
        prompt_frames: M.
        share: beta in [0, 1].
    """
    if frame >= prompt_frames:
        return 0
    exact = share * steps * (prompt_frames - frame) / prompt_frames
    return math.ceil(exact - 1e-9)  # a product of floats may lie just above a whole number


def guided_frames(step: int, steps: int, prompt_frames: int, share: float) -> int:
    """How many first frames are replaced after `step` (0-based); they grow fewer."""
    return sum(
        step < guided_steps(frame, steps, prompt_frames, share) for frame in range(prompt_frames)
    )


@dataclass
class StagedGuidance:
    """What a clip leaves to the next one: its last frames after each step that guides them.

    Attributes:
        steps, prompt_frames, share: S, M and beta of Eq. 8.
        before: of the clip before, step -> its last frames, last one first, `[B, k, ...]`; empty in
            the first clip.
    """

    steps: int
    prompt_frames: int
    share: float
    before: dict[int, Tensor] = field(default_factory=dict)
    _now: dict[int, Tensor] = field(default_factory=dict)

    def revise(self, step: int, latents: Tensor) -> Tensor:
        """Eq. 8 on the latents `[B, N, ...]` that `step` reached; they are kept for the next clip,
        as far as it needs them.
        """
        frames = guided_frames(step, self.steps, self.prompt_frames, self.share)
        if not frames:
            return latents
        if step in self.before:
            latents = torch.cat([self.before[step], latents[:, frames:]], dim=1)
        self._now[step] = latents[:, -frames:].flip(1)
        return latents

    def next_clip(self) -> None:
        """The clip is finished: it guides the one that begins."""
        self.before, self._now = self._now, {}
