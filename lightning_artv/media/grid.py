"""Several clips side by side."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_artv.media.frames import as_clip


def grid(
    clips: Tensor,
    columns: int,
    truth: Tensor | None = None,
    gap: int = 2,
    background: int = 255,
) -> Tensor:
    """Clips in rows of `columns`, each below its truth where that is given.

    Args:
        clips: uint8 `[N, T, H, W, 3]`.
        columns: cells a row; the last row is filled up with `background`.
        truth: clips of the shape of `clips`, or None.
        gap: pixels between cells; a truth touches its clip.
        background: grey of gaps and empty cells, in [0, 255].

    Returns:
        uint8 `[T, H', W', 3]`.

    Raises:
        ValueError: no clip, no column, or a truth of another shape.
    """
    if clips.dim() != 5 or not len(clips) or columns < 1:
        raise ValueError(
            f"grid needs clips [N, T, H, W, 3] and a column, got {tuple(clips.shape)}, {columns}."
        )
    if truth is not None and truth.shape != clips.shape:
        raise ValueError(
            f"truth must have the clips' shape {tuple(clips.shape)}, got {tuple(truth.shape)}."
        )
    cells = clips if truth is None else torch.cat([truth, clips], dim=2)
    n, t, h, w, _ = cells.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full(
        (t, rows * (h + gap) - gap, columns * (w + gap) - gap, 3), background, dtype=np.uint8
    )
    for index, cell in enumerate(cells):
        top, left = (index // columns) * (h + gap), (index % columns) * (w + gap)
        sheet[:, top : top + h, left : left + w] = as_clip(cell)
    return torch.from_numpy(sheet)
