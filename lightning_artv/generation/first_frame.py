"""First frames from a diffusers text-to-image pipeline (paper Sec. 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_artv.errors import MissingWeightsError
from lightning_artv.given import check_weights_given
from lightning_artv.media import picture
from lightning_artv.networks.folders import snapshot
from lightning_artv.networks.pretrained import without_bars
from lightning_artv.networks.weight_files import pipeline_variant

_INDEX = "model_index.json"


class FirstFrameModel:
    """A text-to-image pipeline by folder or hub id; only safetensors weights are read.

    Args:
        name: folder or hub id; its plain weights, or else the variant that it has.
        device: where it runs; bfloat16 on CUDA, else float32.

    Raises:
        MissingWeightsError: nothing that can be loaded under that name.
        CorruptWeightsError: damaged weights.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self._pipeline = _load(name, device)

    def __call__(
        self, prompts: Sequence[str], seeds: Sequence[int], size: tuple[int, int]
    ) -> list[Tensor]:
        """One picture per prompt, uint8 `[3, H, W]`, scaled to cover `size` and cropped at the
        centre.

        Args:
            prompts: what the pictures show.
            seeds: one per prompt, so that a picture does not depend on the others.
            size: (height, width).
        """
        pictures = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            made = self._pipeline(prompt=prompt, generator=generator, output_type="pil").images[0]
            pictures.append(picture(made, size))
        return pictures


def _load(name: str, device: torch.device) -> Any:
    from diffusers import AutoPipelineForText2Image

    without_bars()
    check_weights_given(name, "text-to-image pipeline")
    folder = Path(name).expanduser()
    local = folder.is_dir()
    failures = []
    # a repository on the hub that has no plain weights usually has fp16
    for variant in [pipeline_variant(folder)] if local else [None, "fp16"]:
        options = {"use_safetensors": True, "variant": variant}
        try:
            pipeline = AutoPipelineForText2Image.from_pretrained(
                folder if local else name, **options
            )
            break
        except (OSError, ValueError) as error:
            failures.append(error)
            if not local and _INDEX in str(error):  # diffusers says so without a network, too
                snapshot(name, "", None, [_INDEX])
    else:
        reason = " ".join(str(failures[0]).split())[:200]
        raise MissingWeightsError(
            f"There is no text-to-image pipeline '{name}' (a diffusers folder with safetensors "
            f"weights, or a hub id): {reason}"
        ) from failures[0]
    pipeline.set_progress_bar_config(disable=True)
    # the option that loads in another precision has another name in each version of diffusers
    return pipeline.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
