"""An image U-Net that sees the frames of clips together."""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lightning_artv.networks.temporal import (
    Clip,
    Every,
    Trained,
    add_temporal_layers,
    freeze_all_but,
)


class ClipUNet(nn.Module):
    """A U-Net over the frames of clips together.

    Args:
        unet: U-Net with layers over time in it.
        clip: what `add_temporal_layers` answered.
    """

    def __init__(self, unet: UNet2DConditionModel, clip: Clip) -> None:
        super().__init__()
        self.unet, self.clip = unet, clip

    @classmethod
    def around(
        cls,
        unet: UNet2DConditionModel,
        trained: Trained = "all",
        dropout: float = 0.0,
        every: Every = "block",
    ) -> ClipUNet:
        """An image U-Net with layers over time put in it, in place."""
        clip = add_temporal_layers(unet, dropout, every)
        freeze_all_but(unet, trained)
        return cls(unet, clip)

    def blocks(self) -> list[nn.Module]:
        """The U-Net's blocks, in the order of its `forward`."""
        return [*self.unet.down_blocks, self.unet.mid_block, *self.unet.up_blocks]

    def forward(self, z_t: Tensor, t: Tensor, text: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map clips `z_t` `[B, F, C, h, w]` at steps `t` `[B, F]` to `[B, F, out_channels, h, w]`.

        Args:
            z_t: noisy latents, and what else the U-Net reads on channels.
            t: int64, one per frame.
            text: tokens `[B, L, D]`.
            labels: `[B, F, D]`, what the U-Net's class embedding reads, if it has one.
        """
        frames = z_t.shape[1]
        self.clip.frames = frames
        output = self.unet(
            z_t.flatten(0, 1),
            t.flatten(),
            encoder_hidden_states=text.repeat_interleave(frames, dim=0),
            class_labels=None if labels is None else labels.flatten(0, 1),
            return_dict=False,
        )[0]
        assert isinstance(output, Tensor)
        return output.unflatten(0, z_t.shape[:2])
