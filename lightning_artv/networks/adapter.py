"""T2I-Adapter over the two reference frames (paper Sec. 3.1, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import T2IAdapter
from torch import Tensor, nn


class ReferenceAdapter(nn.Module):
    """Feature maps that are added in a U-Net's encoder; zero at the start.

    diffusers' `T2IAdapter` with one learned gate a channel and level. The gates start at zero, so
    the untrained U-Net is untouched, and receive a gradient from the first step on.

    Args:
        in_channels: both references' latent channels together.
        channels: the U-Net's block widths.
    """

    def __init__(self, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.adapter = T2IAdapter(
            in_channels=in_channels,
            channels=list(channels),
            num_res_blocks=2,
            downscale_factor=1,
            adapter_type="full_adapter",
        )
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(c, 1, 1)) for c in channels)

    def forward(self, references: Tensor) -> list[Tensor]:
        """Map `[B, in_channels, h, w]` to one `[B, c, h / 2^k, w / 2^k]` a level k (sizes rounded
        up).
        """
        return [gate * x for gate, x in zip(self.gates, self.adapter(references), strict=True)]
