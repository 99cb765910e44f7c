"""What a pipeline's call is given and gives back, in diffusers' forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_artv.diffusion.noise import Generators, generators_for
from lightning_artv.errors import UserError, check_number, check_whole
from lightning_artv.media import Picture, picture

ARRAYS = (np.ndarray, Tensor)

_LARGEST_SEED = 2**63 - 1


def prompts_of(prompt: str | Sequence[str], videos_per_prompt: int) -> tuple[str, ...]:
    """One prompt per video.

    Raises:
        UserError: no text, none at all, or fewer than one video each.
    """
    prompts = (prompt,) if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not all(isinstance(one, str) for one in prompts):
        raise UserError(f"A prompt must be a text or a list of texts, got {prompt!r:.60}.")
    if not prompts or videos_per_prompt == 0:
        raise UserError("Nothing to generate: give a prompt, and at least 1 video each.")
    check_whole("num_videos_per_prompt", videos_per_prompt, 1)
    return tuple(text for text in prompts for _ in range(videos_per_prompt))


def check_output(output_type: str) -> None:
    """Raises:
    UserError: a type of output that there is not.
    """
    if output_type not in ("pil", "np", "pt"):
        raise UserError(f"output_type is {output_type!r}: choose pil, np or pt.")


def size_of(
    height: int | None, width: int | None, trained: Sequence[int] | None
) -> tuple[int, int]:
    """(height, width) in pixels: what is asked for, else as trained.

    Raises:
        UserError: neither says it, or no whole number.
    """
    trained = trained or (0, 0)
    size = (height or trained[0], width or trained[1])
    if 0 in size:
        raise UserError("The model does not say its frame size: give height and width.")
    check_whole("The height", size[0], 1)
    check_whole("The width", size[1], 1)
    return size


def text_weight(guidance_scale: float) -> float:
    """Our weight of the text for a scale in which 1 is no guidance.

    Raises:
        UserError: no finite number.
    """
    check_number("guidance_scale", guidance_scale)
    return guidance_scale - 1


def generators_of(
    videos: int, generator: torch.Generator | Sequence[torch.Generator] | None, seed: int | None
) -> Generators:
    """A CPU generator per video, which is what the rollout draws from.

    Args:
        videos: how many.
        generator: one for all or one per video, on any device; each video's seed is drawn from it.
        seed: video i has seed + i, as in `generate_videos`.

    Raises:
        UserError: both, or another number of generators than videos.
    """
    if generator is not None and seed is not None:
        raise UserError("Give a generator or a seed, not both.")
    given = (
        generator if isinstance(generator, list | tuple) else [generator] * (generator is not None)
    )
    if not all(isinstance(one, torch.Generator) for one in given):
        raise UserError(f"A generator must be a torch.Generator, got {generator!r:.60}.")
    if seed is not None:
        check_whole("The seed", seed)
        seeds = [seed + i for i in range(videos)]
    elif generator is None or isinstance(generator, torch.Generator):
        seeds = [_draw(generator) for _ in range(videos)]
    elif len(generator) == videos:
        seeds = [_draw(one) for one in generator]
    else:
        raise UserError(
            f"There are {len(generator)} generators for {videos} videos: give one each."
        )
    return [generators_for(one, ["video"])[0] for one in seeds]


def _draw(generator: torch.Generator | None) -> int:
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(_LARGEST_SEED, (), generator=generator, device=device))


def first_frames(
    image: Picture | Sequence[Picture] | None, videos: int, size: tuple[int, int]
) -> Tensor | None:
    """First frames, uint8 `[B, 3, H, W]`, scaled to cover `size` and cropped at the centre.

    Args:
        image: one for all videos, or a sequence (or an array or tensor with one axis more) of one
            a video; see `picture`.
        videos: how many.
        size: (height, width).

    Raises:
        UserError: another number of pictures than videos, or none that can be used.
    """
    if image is None:
        return None
    if isinstance(image, list | tuple) or (isinstance(image, ARRAYS) and image.ndim == 4):
        pictures = list(image)
        if len(pictures) != videos:
            raise UserError(
                f"There are {len(pictures)} first frames for {videos} videos: give one each."
            )
        return torch.stack([picture(one, size) for one in pictures])
    return picture(cast(Picture, image), size).expand(videos, -1, -1, -1)


def as_output(frames: Tensor, output_type: str) -> list[list[Image.Image]] | np.ndarray | Tensor:
    """uint8 `[B, T, 3, H, W]` as `pil`, or in [0, 1] as `np` `[B, T, H, W, 3]` or `pt`."""
    if output_type == "pt":
        return frames.float() / 255
    images = frames.permute(0, 1, 3, 4, 2).numpy()
    if output_type == "np":
        return images.astype(np.float32) / 255
    return [[Image.fromarray(image) for image in video] for video in images]
