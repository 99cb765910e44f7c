"""The mask by denoising step: the numbers of Fig. 4 and the pictures of Fig. 9."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_artv.figures import Figure, Histogram, Picture, Scalar
from lightning_artv.systems.base import DenoisingStep, Recorder

BINS = 30
"""Rows of Fig. 4."""
RESULT_BINS = 20
"""Bins of the distribution in a result file."""
KEPT_VALUES, KEPT_FRAMES = 4096, 64
"""Values kept of a frame, and frames that values are kept of: what is kept stays small."""
SHOWN_FRAME, SHOWN_VIDEOS = 4, 4
"""Frame and videos whose masks `arrays` holds."""
SHOWN_STEPS = 5
"""Denoising steps whose means and values TensorBoard shows."""


@dataclass(frozen=True)
class MaskedStep(DenoisingStep):
    """A denoising step of ART•V.

    Attributes:
        mask: `[B, 1 or C, h, w]` in [0, 1], or None without a mask network.
    """

    mask: Tensor | None = None


@dataclass
class _StepMasks:
    """The masks of one denoising step, over all frames."""

    timestep: int
    means: list[float] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    counts: Tensor = field(default_factory=lambda: torch.zeros(RESULT_BINS, dtype=torch.float64))
    total: float = 0.0
    last: Tensor | None = None
    shown: Tensor | None = None

    def add(self, mask: Tensor, frame: int) -> None:
        flat = mask.flatten()
        self.means.append(float(flat.mean()))
        if len(self.values) < KEPT_FRAMES:
            self.values.append(flat[:: -(-len(flat) // KEPT_VALUES)].clone())
        self.counts += torch.histc(mask, RESULT_BINS, 0.0, 1.0).double()
        self.total += float(mask.double().sum())
        self.last = mask[0].mean(dim=0)
        if frame == SHOWN_FRAME and self.shown is None:
            self.shown = mask[:SHOWN_VIDEOS].mean(dim=1)

    @property
    def mean(self) -> float:
        """The mean of the frames' means."""
        return sum(self.means) / len(self.means)


class MaskRecorder(Recorder):
    """What the mask did at each denoising step; the first frame, which copies nothing, is left out.

    Its memory does not grow with the number of frames.
    """

    def __init__(self) -> None:
        self._masks: dict[int, _StepMasks] = {}

    def __call__(self, step: DenoisingStep) -> None:
        """Keep one step's mask, if it has one."""
        mask = getattr(step, "mask", None)
        if mask is not None and step.frame > 0:
            kept = self._masks.setdefault(step.step, _StepMasks(step.timestep))
            kept.add(mask.detach().float().cpu(), step.frame)

    def _in_order(self) -> list[_StepMasks]:
        return [self._masks[step] for step in sorted(self._masks)]

    def figures(self) -> dict[str, Figure]:
        """Fig. 4 as scalars, histograms and a picture, and Fig. 9; empty without a mask."""
        steps = self._in_order()
        return dict(self._figures(steps)) if steps else {}

    def _figures(self, steps: Sequence[_StepMasks]) -> Iterator[tuple[str, Figure]]:
        for index in _spread(len(steps), SHOWN_STEPS):
            yield f"mask/mean/{index:03d}", Scalar(steps[index].mean)
            values = torch.cat(steps[index].values).numpy()
            yield f"mask/values/{index:03d}", Histogram(values)
        distributions = [torch.cat(step.values) for step in steps]
        yield "mask/fig4", Picture(density(distributions, [step.mean for step in steps]))
        yield "mask/fig9", Picture(strip([step.last for step in steps if step.last is not None]))

    def numbers(self) -> dict[str, Any]:
        """`mask`, or None for it without a mask: in the order of denoising, `timesteps`, `mean` and
        `histogram`, the shares of values in 20 equal bins of [0, 1].
        """
        steps = self._in_order()
        if not steps:
            return {"mask": None}
        totals = [float(step.counts.sum()) for step in steps]
        found = {
            "timesteps": [step.timestep for step in steps],
            "mean": [step.total / n for step, n in zip(steps, totals, strict=True)],
            "histogram": [(s.counts / n).tolist() for s, n in zip(steps, totals, strict=True)],
        }
        return {"mask": found}

    def arrays(self, size: int) -> dict[str, NDArray[np.uint8]]:
        """`masks`: of frame 4 of the first four videos, means over latent channels, enlarged to
        `size` pixels, uint8 `[steps, videos, size, size]`, 255 where the mask is 1.
        """
        shown = [step.shown for step in self._in_order() if step.shown is not None]
        if not shown:
            return {}
        large = enlarged(torch.stack(shown).numpy(), size // shown[0].shape[-1])
        return {"masks": np.rint(large * 255).astype(np.uint8)}


def enlarged(pictures: NDArray[Any], scale: int) -> NDArray[Any]:
    """`[..., H, W]` with every pixel `scale` x `scale` times."""
    return pictures.repeat(scale, axis=-2).repeat(scale, axis=-1)


def strip(masks: Sequence[Tensor], columns: int = 10, scale: int = 2) -> NDArray[np.uint8]:
    """Fig. 9: masks `[h, w]` in the order of denoising, white where the mask is 1.

    Returns:
        uint8 `[H, W, 3]`; at most `columns` of the masks, evenly chosen.
    """
    picked = np.linspace(0, len(masks) - 1, min(columns, len(masks)))
    cells = [np.pad(masks[round(i)].numpy(), 1, constant_values=0.5) for i in picked]
    grey = enlarged(np.concatenate(cells, axis=1).clip(0, 1), scale)
    return np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def density(values: Sequence[Tensor], means: Sequence[float], scale: int = 8) -> NDArray[np.uint8]:
    """Fig. 4 as a picture: a column per denoising step, first step left, mask value 1 at the top.

    Brighter is more frequent (square root of the share); the red cell holds the mean.

    Args:
        values: mask values `[N]` of each step.
        means: means of each step.

    Returns:
        uint8 `[H, W, 3]`.
    """
    columns = [torch.histc(v, BINS, 0, 1) / len(v) for v in values]
    shares = torch.stack(columns, dim=1).sqrt().flip(0).numpy()
    image = np.repeat((shares * 255).round().astype(np.uint8)[..., None], 3, axis=2)
    for column, mean in enumerate(means):
        row = BINS - 1 - min(BINS - 1, int(mean * BINS))
        image[row, column] = (255, 0, 0)
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def _spread(count: int, picks: int) -> list[int]:
    """Up to `picks` different indices of `range(count)`, evenly spread, ends included."""
    return sorted({round(float(i)) for i in np.linspace(0, count - 1, picks)})
