"""Pictures and videos from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_artv.errors import UserError
from lightning_artv.media.container import open_container, orientation, to_rgb, video_stream

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What `read_image` opens. Pillow knows more, among them EPS, for which it runs Ghostscript."""

Picture: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor
CHANNELS = (1, 2, 3, 4)


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> Tensor:
    """`picture` of a file, uint8 `[3, H, W]`.

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
    with _readable(path), Image.open(path, formats=FORMATS) as opened:
        return _to_tensor(opened, size)


def picture(image: Picture, size: tuple[int, int] | None = None) -> Tensor:
    """One picture in any form as uint8 `[3, H, W]`; all forms of one picture give the same.

    It is turned upright (EXIF orientation) and laid on white where it is transparent; of 16 bits
    the upper 8 are kept; palettes, greys and CMYK become RGB.

    Args:
        image: a path, an open image, an array `[H, W]` or `[H, W, C]`, or a tensor `[H, W]`,
            `[C, H, W]` or `[H, W, C]`: C is 1 (grey), 2 (grey, opacity), 3 or 4 (RGB, opacity);
            values are uint8, uint16, bool, or floats in [0, 1].
        size: as in `read_image`.

    Raises:
        UserError: nothing of these, or an image that cannot be read.
    """
    if isinstance(image, str | Path):
        return read_image(image, size)
    if isinstance(image, Tensor | np.ndarray):
        image = Image.fromarray(_to_bytes(_channels_last(image)))
    if not isinstance(image, Image.Image):
        raise UserError(
            f"A picture must be a path, a PIL image, an array or a tensor, got "
            f"{type(image).__name__}."
        )
    with _readable("The picture"):
        return _to_tensor(image, size)


def read_video(path: str | Path) -> Tensor:
    """All frames of a video, upright, uint8 `[T, H, W, 3]`; for tests and pages: memory grows with
    length.

    Raises:
        UserError: no such file, or no video.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no video {path}: check the path.")
    try:
        with open_container(path) as container:
            stream = video_stream(container)
            frames = list(_pictures(container.decode(stream))) if stream else []
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a video that can be read: {error}.") from error
    if not frames:
        raise UserError(f"{path} holds no frame.")
    return torch.from_numpy(np.stack(frames))


def _pictures(frames: Iterable[av.VideoFrame]) -> Iterator[np.ndarray]:
    """The frames as `[H, W, 3]`, in the size of the first."""
    size = None
    for frame in frames:
        lies = orientation(frame)
        size = size or lies.of_shown(frame.height, frame.width)
        yield to_rgb(frame, size, 1.0, lies)


@contextmanager
def _readable(name: str | Path) -> Iterator[None]:
    """Turn Pillow's refusals into a `UserError` about `name`."""
    try:
        yield
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(
            f"{name} has more than {most:,} pixels, which are not read: make it smaller."
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{name} is not an image that can be read: give a PNG, JPEG or WebP file."
        ) from error


def _to_tensor(image: Image.Image, size: tuple[int, int] | None) -> Tensor:
    """An open image as `picture` gives it."""
    if not (image.width and image.height):
        raise UserError(f"A picture must have pixels, got {image.width}x{image.height}.")
    image = _on_white(_upright(image))
    if size is not None:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _upright(image: Image.Image) -> Image.Image:
    """As its EXIF orientation says; damaged EXIF data say nothing, but the picture is good."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # whatever Pillow's parser meets in data that any program may have written
        return image


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, 16-bit greys keep their upper 8 bits."""
    if image.mode == "La":  # premultiplied; Pillow only knows the way to LA
        image = image.convert("LA")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A 16-bit grey as `L`; the one value that a PNG may call transparent becomes white."""
    grey = np.asarray(image).astype(np.int64)
    upper = (grey >> 8).clip(0, 255).astype(np.uint8)
    if "transparency" in image.info:
        upper[grey == image.info["transparency"]] = 255
    return Image.fromarray(upper)


def _channels_last(image: Tensor | np.ndarray) -> np.ndarray:
    """`[H, W]` for a grey, else `[H, W, C]`."""
    if isinstance(image, Tensor):
        if image.dim() == 3 and image.shape[0] in CHANNELS:
            image = image.permute(1, 2, 0)
        image = _as_array(image.detach())
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if not image.size or image.ndim not in (2, 3) or (*image.shape, 1)[2] not in CHANNELS:
        raise UserError(
            "A picture must be an array [H, W] or [H, W, C], or a tensor [C, H, W], with C of 1 to "
            f"4, got the shape {tuple(image.shape)}."
        )
    return image


def _as_array(image: Tensor) -> np.ndarray:
    try:
        return (image.float() if image.is_floating_point() else image).numpy(force=True)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise UserError(
            f"A picture must be an ordinary tensor with values, got one of {image.dtype}, "
            f"{image.layout}, on the device '{image.device}'."
        ) from error


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """The same in uint8.

    Raises:
        UserError: another type, or floats outside [0, 1].
    """
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    elif np.issubdtype(image.dtype, np.floating):
        if not (image.min() >= 0 and image.max() <= 1):  # NaN is neither
            raise UserError(
                f"A picture must be uint8 [3, H, W] or the like, or hold floats in [0, 1], got "
                f"{image.dtype} from {image.min():.9g} to {image.max():.9g}."
            )
        image = (image.astype(np.float64) * 255).round().astype(np.uint8)
    elif image.dtype != np.uint8:
        raise UserError(
            f"A picture must be uint8 [3, H, W] or the like, or uint16, bool or float, got "
            f"{image.dtype}."
        )
    return np.ascontiguousarray(image)
