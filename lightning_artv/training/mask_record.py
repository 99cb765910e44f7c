"""The mask by denoising step: the numbers of Fig. 4 and the pictures of Fig. 9."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lightning_artv.systems.base import DenoisingStep

BINS = 30


@dataclass
class MaskRecord:
    """An observer of generation that keeps the mask of each denoising step.

    Attributes:
        means: step -> the mask's mean in each frame.
        values: step -> mask values of all frames, thinned to at most `kept` a frame.
        pictures: the last frame's masks of the first video, one a step, `[h, w]` in [0, 1].
        timesteps: step -> the schedule's t.
    """

    kept: int = 4096
    means: dict[int, list[float]] = field(default_factory=dict)
    values: dict[int, list[Tensor]] = field(default_factory=dict)
    pictures: dict[int, Tensor] = field(default_factory=dict)
    timesteps: dict[int, int] = field(default_factory=dict)

    def __call__(self, step: DenoisingStep) -> None:
        """Keep one step's mask; a step without a mask, or the first frame's, is left out."""
        if step.mask is None or step.frame == 0:
            return
        mask = step.mask.detach().float().cpu()
        flat = mask.flatten()
        stride = -(-len(flat) // self.kept)
        self.means.setdefault(step.step, []).append(float(flat.mean()))
        self.values.setdefault(step.step, []).append(flat[::stride].clone())
        self.pictures[step.step] = mask[0].mean(dim=0)
        self.timesteps[step.step] = step.timestep

    def mean_by_step(self) -> list[float]:
        """The mask's mean over all frames, in the order of denoising."""
        return [sum(self.means[s]) / len(self.means[s]) for s in sorted(self.means)]

    def values_by_step(self) -> list[Tensor]:
        """Kept mask values `[N]` in the order of denoising."""
        return [torch.cat(self.values[s]) for s in sorted(self.values)]

    def picture_strip(self, columns: int = 10, scale: int = 2) -> np.ndarray:
        """Fig. 9: the last frame's masks in the order of denoising, white where the mask is 1.

        Returns:
            uint8 `[H, W, 3]`; at most `columns` of the steps, evenly chosen.
        """
        steps = sorted(self.pictures)
        picked = [steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(columns, len(steps)))]
        cells = [np.pad(self.pictures[s].numpy(), 1, constant_values=0.5) for s in picked]
        grey = np.concatenate(cells, axis=1).clip(0, 1)
        grey = grey.repeat(scale, axis=0).repeat(scale, axis=1)
        return np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=2)

    def density_picture(self, scale: int = 8) -> np.ndarray:
        """Fig. 4 as a picture: a column a denoising step, first step left, mask value 1 at the top.

        Brighter is more frequent (square root of the share); the red cell holds the mean.

        Returns:
            uint8 `[H, W, 3]`.
        """
        columns = [torch.histc(v, BINS, 0, 1) / len(v) for v in self.values_by_step()]
        density = torch.stack(columns, dim=1).sqrt().flip(0).numpy()
        image = np.repeat((density * 255).round().astype(np.uint8)[..., None], 3, axis=2)
        for column, mean in enumerate(self.mean_by_step()):
            row = BINS - 1 - min(BINS - 1, int(mean * BINS))
            image[row, column] = (255, 0, 0)
        return image.repeat(scale, axis=0).repeat(scale, axis=1)
