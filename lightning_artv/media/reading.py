"""Pictures and videos from files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_artv.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What `read_image` opens. Pillow knows more, among them EPS, for which it runs Ghostscript."""


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> Tensor:
    """A picture as uint8 `[3, H, W]`, upright (EXIF orientation) and on white where transparent.

    Args:
        path: a PNG, JPEG, WebP, GIF (its first frame), BMP, TIFF or PPM file.
        size: (height, width) to scale to by the tighter side and to crop to at the centre; None
            keeps the size.

    Raises:
        UserError: no such file, or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no image {path}: check the path.")
    try:
        with Image.open(path, formats=FORMATS) as opened:
            image = _on_white(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} is not an image that can be read: give a PNG, JPEG or WebP file."
        ) from error
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_video(path: str | Path) -> Tensor:
    """All frames of a video, uint8 `[T, H, W, 3]`; for tests and pages: memory grows with length.

    Raises:
        UserError: no such file, or no video.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no video {path}: check the path.")
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            frames = [_rgb(frame) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f"{path} is not a video that can be read: {error}.") from error
    if not frames:
        raise UserError(f"{path} holds no frame.")
    return torch.from_numpy(np.stack(frames))


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="rgb24")


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, 16-bit greys keep their upper 8 bits."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype("u1"))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
