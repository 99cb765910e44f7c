"""An order of samples that does not depend on the order in which they came."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def shuffled(rows: Tensor, seed: int) -> Tensor:
    """The rows of `[n, d]` in an order that only their values and the seed decide.

    They are sorted by their values (first column first; equal rows are interchangeable), then
    shuffled with the seed. Batches, ranks and files therefore change nothing, splits are still
    random ones, and rounding noise moves only rows that all but tie. Returned on the CPU.
    """
    values = rows.detach().cpu()
    by_value = torch.from_numpy(np.lexsort(values.numpy().T[::-1]))
    generator = torch.Generator().manual_seed(seed)
    return values[by_value[torch.randperm(len(values), generator=generator)]]
