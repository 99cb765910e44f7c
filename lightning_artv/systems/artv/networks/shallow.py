"""A U-Net that takes its deep features from an earlier denoising step (DeepCache, Ma et al. 2024).

Between neighbouring steps they hardly change, and they cost most of the evaluation. Run are the
first block down, the last block up and the convolutions around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from diffusers import UNet2DConditionModel
from torch import Tensor

DeepBlocks = Literal["run", "keep", "reuse"]
"""What becomes of the deep blocks in a call."""


@contextmanager
def keeping(unet: UNet2DConditionModel, deep: list[Tensor]) -> Iterator[None]:
    """Within, `unet` leaves in `deep` what its last block up is given, if there is a block below
    it.
    """
    below = list(unet.up_blocks)[:-1]
    hooks = [
        block.register_forward_hook(lambda _, __, x: deep.__setitem__(slice(None), [x]))
        for block in below[-1:]
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def shallow(
    unet: UNet2DConditionModel,
    y_t: Tensor,
    t: Tensor,
    noise_level: Tensor,
    features: Tensor,
    deep: Tensor,
    **inputs: Any,
) -> Tensor:
    """What `unet` answers with `deep` `[B, C, h, w]` for its deep features.

    Args:
        features: the adapter's, of the first level.
        inputs: inputs of the attentions.
    """
    text = inputs["encoder_hidden_states"]
    embedding = unet.time_embedding(unet.get_time_embed(sample=y_t, timestep=t))
    embedding = embedding + unet.get_class_embed(sample=y_t, class_labels=noise_level)
    pooled = unet.get_aug_embed(embedding, text, added_cond_kwargs={})
    embedding = embedding if pooled is None else embedding + pooled
    down, up = unet.down_blocks[0], unet.up_blocks[-1]
    x = unet.conv_in(y_t)
    _, skips = down(x, embedding, additional_residuals=features, **inputs)
    skips = (x, *skips)[: len(up.resnets)]
    x = up(deep, res_hidden_states_tuple=skips, temb=embedding, **inputs)
    output = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
    assert isinstance(output, Tensor)
    return output
