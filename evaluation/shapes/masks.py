"""The mask by denoising step over a whole benchmark: sums that do not grow with its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_artv.synthetic.scenes import Image
from lightning_artv.systems.base import DenoisingStep

BINS = 20


@dataclass
class MaskSummary:
    """An observer of generation; the first frame, and steps without a mask, are left out.

    Attributes:
        frame: whose masks are kept as pictures.
        clips: of how many videos; of the first batch in which there is such a frame.
    """

    frame: int
    clips: int
    _timesteps: dict[int, int] = field(default_factory=dict)
    _counts: dict[int, Tensor] = field(default_factory=dict)
    _sums: dict[int, float] = field(default_factory=dict)
    _pictures: dict[int, Tensor] = field(default_factory=dict)

    def __call__(self, step: DenoisingStep) -> None:
        """Count one step's mask."""
        if step.mask is None or step.frame == 0:
            return
        mask, key = step.mask.detach().float().cpu(), step.step
        counts = torch.histc(mask, BINS, 0.0, 1.0).double()
        self._timesteps[key] = step.timestep
        self._counts[key] = self._counts.get(key, torch.zeros_like(counts)) + counts
        self._sums[key] = self._sums.get(key, 0.0) + float(mask.double().sum())
        if step.frame == self.frame:
            self._pictures.setdefault(key, mask[: self.clips].mean(dim=1))

    def figures(self) -> dict[str, Any] | None:
        """In the order of denoising: `timesteps`, `mean`, and `histogram`, the shares of values in
        20 equal bins of [0, 1]; None for a system without a mask.
        """
        steps = sorted(self._counts)
        if not steps:
            return None
        totals = {step: float(self._counts[step].sum()) for step in steps}
        return {
            "timesteps": [self._timesteps[step] for step in steps],
            "mean": [self._sums[step] / totals[step] for step in steps],
            "histogram": [(self._counts[step] / totals[step]).tolist() for step in steps],
        }

    def pictures(self, size: int) -> Image | None:
        """The kept masks, means over latent channels, enlarged to `size` pixels.

        Returns:
            uint8 `[steps, clips, size, size]`, 255 where the mask is 1; None without a mask.
        """
        if not self._pictures:
            return None
        small = torch.stack([self._pictures[step] for step in sorted(self._pictures)]).numpy()
        times = size // small.shape[-1]
        large = small.repeat(times, axis=-2).repeat(times, axis=-1)
        return np.rint(large * 255).astype(np.uint8)
