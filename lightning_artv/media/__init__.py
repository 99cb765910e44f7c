"""Pictures and videos, in and out: no networks, no Lightning.

Everywhere here a frame is uint8 in [0, 255]: `[3, H, W]` (torch) or `[H, W, 3]` (torch or numpy); a
clip is `[T, H, W, 3]`.
"""

from lightning_artv.media.gif import gif_bytes, write_gif
from lightning_artv.media.grid import grid
from lightning_artv.media.reading import Picture, picture, read_image, read_video
from lightning_artv.media.writing import FrameWriter, open_writer, partial_path

__all__ = [
    "FrameWriter",
    "Picture",
    "gif_bytes",
    "grid",
    "open_writer",
    "partial_path",
    "picture",
    "read_image",
    "read_video",
    "write_gif",
]
