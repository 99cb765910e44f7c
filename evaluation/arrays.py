"""Videos in `.npy` files, as research code saves samples: one, or several of equal length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_artv.errors import UserError

ARRAY_SUFFIX = ".npy"


def count_videos(path: Path) -> int | None:
    """How many videos an array of several holds; None for an array that is one video.

    Raises:
        UserError: no array of videos.
    """
    array = open_array(path)
    return len(array) if array.ndim == 5 else None


def holds_videos(path: Path) -> bool:
    """Whether an array is one of videos; others lie beside videos as their features or labels."""
    try:
        open_array(path)
    except UserError:
        return False
    return True


def open_array(path: Path, index: int | None = None) -> NDArray[np.uint8]:
    """A video `[T, 3, H, W]`, or several `[N, T, 3, H, W]`; read from the disk where it is used.

    Colours may be the last axis of the file, the one before height and width, or the one before
    time.

    Args:
        path: an array of bytes, 0 to 255.
        index: number of one video of several.

    Raises:
        UserError: no array of videos; objects are never unpickled.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"'{path}' is not an array that can be read ({reason}): save it with numpy.save."
        ) from error
    axis = next((a for a in (-1, -3, -4) if array.ndim in (4, 5) and array.shape[a] == 3), None)
    if axis is None or array.dtype != np.uint8 or not array.size:
        raise UserError(
            f"'{path}' holds {array.dtype} {list(array.shape)}, which is no video: save uint8 "
            "[T, H, W, 3] or, of several videos, [N, T, H, W, 3]."
        )
    videos = np.moveaxis(array, axis, -3)
    return videos if index is None else videos[index]
