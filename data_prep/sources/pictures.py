"""A still picture: upright, in RGB, or the reason why it cannot be used."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from data_prep.engine.failure import BadVideo, ErrorKind, words
from data_prep.sources.files import read_source

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

Image.init()  # else Pillow knows few formats
_KNOWN = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
_STILL = tuple(name for name in _KNOWN if name in Image.OPEN)  # AVIF needs a later Pillow
_COLOURS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB")
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError)


@dataclass(frozen=True)
class Picture:
    """An opened picture, not yet decoded.

    Attributes:
        image: as its file has it.
        orientation: EXIF's; 1 is upright.
    """

    image: Image.Image
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) upright, in pixels."""
        width, height = self.image.size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)

    @property
    def repairs(self) -> list[str]:
        """What `load` does beside decoding."""
        turned = f"turned upright (EXIF orientation {self.orientation})"
        colours = f"converted from {self.image.mode}"
        found = {turned: self.orientation != 1, colours: self.image.mode != "RGB"}
        return [text for text, is_so in found.items() if is_so]

    def load(self, shrink: int = 1) -> tuple[Image.Image, float]:
        """The pixels, RGB and upright.

        Args:
            shrink: how many times smaller the picture may become, which a JPEG's decoder does for
                nothing.

        Returns:
            the picture, and how many times smaller it is.

        Raises:
            BadVideo: it is damaged, transparent or of colours that are none.
        """
        with _readable():
            width, height = self.image.size
            self.image.draft(None, (-(-width // shrink), -(-height // shrink)))
            done = _power(width, self.image.width)
            self.image.load()
            if self.image.has_transparency_data and _see_through(self.image):
                raise BadVideo("transparent", "parts of it are transparent: give it a background")
            upright = ImageOps.exif_transpose(self.image).convert("RGB")
            if shrink // done > 1:
                upright, done = upright.reduce(shrink // done), shrink // done * done
        return upright, float(done)


def open_picture(path: str) -> Picture:
    """The picture of a file (`read_source`'s path), its pixels not yet read.

    Raises:
        BadVideo: no file, no picture, an animation, or colours that are none.
    """
    source = read_source(path)
    with _readable():
        image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, "r", _STILL)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        pictures = getattr(image, "n_frames", 1)
    if pictures > 1 and image.format != "MPO":  # a phone's second picture is of the first
        raise BadVideo("animated", f"it holds {pictures} pictures: prepare it as a video")
    if image.mode not in _COLOURS:
        raise BadVideo("odd_colours", f"its pixels are {image.mode}: save it as 8-bit RGB")
    return Picture(image, orientation if orientation in range(1, 9) else 1)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Pillow's errors as reasons."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except BadVideo:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadVideo("too_large", f"it has more pixels than {Image.MAX_IMAGE_PIXELS}") from error
    except UnidentifiedImageError as error:
        raise BadVideo("not_a_picture", "it is no picture of a format that is known") from error
    except _BROKEN as error:
        kind: ErrorKind = "truncated" if "truncated" in str(error) else "damaged"
        raise BadVideo(kind, f"the picture cannot be decoded ({words(error)})") from error


def _see_through(image: Image.Image) -> bool:
    """Whether a pixel is not opaque."""
    lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
    return float(str(lowest)) < 255


def _power(before: int, after: int) -> int:
    """How many times a JPEG's decoder has shrunk it: 1, 2, 4 or 8."""
    return next(p for p in (1, 2, 4, 8) if -(-before // p) == after)
