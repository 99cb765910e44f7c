"""What a video file says about its pictures: which stream they are, how many, which way is up."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

_DEFAULT_BONUS = 5_000_000  # pixels; ffmpeg's own weight of a stream's flag "default"

# What is opened. FFmpeg knows hundreds of formats, among them playlists, which open other files.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h261,h263,h264,hevc,vvc,m4v,obu,av1,ivf,vc1,dirac,"
    "cavsvideo,avs2,avs3,flv,live_flv,asf,ogg,mxf,gxf,lxf,nut,nsv,nuv,dv,rm,wtv,ty,pva,amv,swf,"
    "yuv4mpegpipe,mjpeg,jpeg_pipe,mpjpeg,smjpeg,gif,apng,flic,film_cpk,bink,smk,roq,ipmovie,"
    "hxvs,cine,wav,mp3,aac,flac"
)


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways in which a stored picture can lie.

    Attributes:
        mirrored: whether left and right are swapped first.
        quarter_turns: quarter turns by which the picture is then turned counter-clockwise, 0 to 3.
    """

    mirrored: bool = False
    quarter_turns: int = 0

    @property
    def sideways(self) -> bool:
        """Whether width and height change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, picture: NDArray[Any]) -> NDArray[Any]:
        """The picture `[H, W, ...]` as it is to be seen; a view."""
        return np.rot90(picture[:, ::-1] if self.mirrored else picture, self.quarter_turns)

    def of_shown(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) as stored of a picture that is shown with this height and width."""
        return (width, height) if self.sideways else (height, width)


STORED_UPRIGHT = Orientation()


def orientation(frame: av.VideoFrame) -> Orientation:
    """How a frame lies, by its display matrix; an odd angle counts as the nearest quarter turn.

    The matrix (a, b; c, d) sends the stored point (x, y) to (ax + cy, bx + dy), y pointing down.
    """
    side_data: Any = frame.side_data
    found = side_data.get(Type.DISPLAYMATRIX)
    if found is None:
        return STORED_UPRIGHT
    a, b, _, c, d = np.frombuffer(found, np.int32)[:5].tolist()
    mirrored = a * d - b * c < 0
    turned = math.atan2(-b, -a) if mirrored else math.atan2(b, a)
    return Orientation(mirrored, round(-turned / (math.pi / 2)) % 4)


def open_container(source: bytes | str | Path) -> InputContainer:
    """A video file, to be closed by the caller.

    Metadata in a legacy encoding, such as cp1251, must not make a video unreadable; formats that
    are no videos, among them playlists that would open other files, are refused.

    Raises:
        av.FFmpegError, OSError, ValueError: it is none.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else f"file:{source}"
    options = {"format_whitelist": _FORMATS}
    return av.open(file, "r", options=options, metadata_errors="ignore")


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """The stream that ffmpeg plays: the largest picture, one that is flagged as default before
    others; never a cover picture. None where there is none, or none that can be decoded.
    """
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    return max(streams, key=_rank, default=None)


def _rank(stream: av.VideoStream) -> int:
    default = bool(stream.disposition & Disposition.default)
    return stream.width * stream.height + _DEFAULT_BONUS * default


def playable(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """A stream's packets from its first keyframe on: what comes before cannot be decoded. All of
    them where none is a keyframe.
    """
    following = iter(packets)
    before = []
    for packet in following:
        if packet.is_keyframe:
            yield packet
            yield from following
            return
        before.append(packet)
    yield from before


def promised_packets(container: InputContainer, stream: av.VideoStream) -> int:
    """How many packets a file says that it has; 0 where it says nothing.

    An mp4's header also counts what its edit list hides, and an avi's counts slots, of which some
    are empty.
    """
    if "mp4" in container.format.name:
        return len(stream.index_entries)
    return 0 if container.format.name == "avi" else stream.frames


def to_rgb(
    frame: av.VideoFrame, size: tuple[int, int], aspect: float, lies: Orientation
) -> NDArray[np.uint8]:
    """A frame upright, as uint8 `[H, W, 3]`, covering a size and cropped to it at the centre.

    Args:
        frame: as it was decoded.
        size: (height, width) that it is to have.
        aspect: width of a stored pixel over its height.
        lies: how the frame lies.
    """
    height, width = lies.of_shown(*size)
    if (frame.height, frame.width) == (height, width) and aspect == 1:
        return lies.upright(frame.to_ndarray(format="rgb24"))
    shown_width = frame.width * aspect
    scale = max(height / frame.height, width / shown_width)
    # Averaging over areas is what antialiases a reduction; an enlargement wants a smooth kernel.
    kernel = Interpolation.AREA if scale < 1 else Interpolation.BICUBIC
    resized = frame.reformat(
        width=max(width, round(shown_width * scale)),
        height=max(height, round(frame.height * scale)),
        format="rgb24",
        interpolation=kernel,
    )
    return lies.upright(_centre_crop(resized.to_ndarray(), height, width))


def _centre_crop(image: NDArray[Any], height: int, width: int) -> NDArray[np.uint8]:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
