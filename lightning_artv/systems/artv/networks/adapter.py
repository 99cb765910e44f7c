"""T2I-Adapter over the two reference frames (paper Sec. 3.1, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers import T2IAdapter
from torch import Tensor, nn


class ReferenceAdapter(nn.Module):
    """Feature maps that are added in a U-Net's encoder.

    diffusers' `T2IAdapter` with a 1x1 convolution a level. Beside a trained U-Net it starts at zero
    (as in ControlNet), so the untrained system leaves that U-Net untouched. (Scalar gates would
    open by the learning rate a step: never at 1e-5.) Beside a U-Net with random weights it starts
    loud: PyTorch's default features are drowned by the noise in `y_t`; motion is learned late.

    Args:
        in_channels: both references' latent channels together.
        channels: the U-Net's block widths.
        silent: start at zero.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], silent: bool) -> None:
        super().__init__()
        self.adapter = T2IAdapter(
            in_channels=in_channels,
            channels=list(channels),
            num_res_blocks=2,
            downscale_factor=1,
            adapter_type="full_adapter",
        )
        outputs = [nn.Conv2d(c, c, 1, bias=False) for c in channels]
        for output in outputs:
            if silent:
                nn.init.zeros_(output.weight)
            else:
                nn.init.orthogonal_(output.weight, gain=3.0)
        self.outputs = nn.ModuleList(outputs)
        first = self.adapter.adapter.conv_in
        assert isinstance(first, nn.Conv2d)
        if not silent:
            nn.init.orthogonal_(first.weight, gain=2.0)

    def forward(self, references: Tensor) -> list[Tensor]:
        """Map `[B, in_channels, h, w]` to one `[B, c, h / 2^k, w / 2^k]` a level k, rounded up."""
        features = self.adapter(references)
        return [output(x) for output, x in zip(self.outputs, features, strict=True)]
