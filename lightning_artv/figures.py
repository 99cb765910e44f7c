"""What there is to show, under TensorBoard's tags; `media.tensorboard` writes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scalar:
    """One number."""

    value: float


@dataclass(frozen=True)
class Histogram:
    """Values `[N]`, whose distribution is shown."""

    values: NDArray[np.float32]


@dataclass(frozen=True)
class Picture:
    """Pixels uint8 `[H, W, 3]`."""

    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Animation:
    """A GIF file's bytes."""

    gif: bytes


Figure = Scalar | Histogram | Picture | Animation
