"""What the packets of a video file say about its times, and about whether it ends early."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags

from lightning_artv.media.container import promised_packets

COMPLETE = 0.95  # of the packets, slots or seconds that a header promises
_PACKED = re.compile(rb"DivX\d+(?:Build|b)\d+p")
"""What an encoder writes that puts two pictures of an avi into one packet."""

_HEADER_BYTES = 512
_FLV_CLOCK = 1 << 31  # milliseconds
_GAP, _BACK = 10.0, 0.1  # seconds; what ffmpeg takes for a clock that was set anew


def continuous(
    container: InputContainer, stream: av.VideoStream, packets: Iterable[av.Packet]
) -> Iterable[av.Packet]:
    """A stream's packets with times that go on where the file's clock starts anew.

    A transport stream has a clock; recordings that were joined by `cat` have several. As in
    ffmpeg, a step back, and a gap of more than 10 s, is another clock. An flv's clock runs over.
    """
    if "flv" in container.format.name:
        return _run_over(packets)
    restarts: Any = Flags.ts_discont.value  # an int, whatever the stubs say
    if stream.time_base is None or not container.format.flags & restarts:
        return packets
    return _joined(stream, packets, stream.time_base)


def _run_over(packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """An flv counts milliseconds with 31 bits: times below 0 are near the end of that count, and
    later ones begin at 0 again, to which FFmpeg adds the 32 bits of other writers."""
    shift, before = 0, None
    for packet in packets:
        if packet.dts is not None:
            late = 0 if before is None else packet.dts - before
            shift -= round(late / _FLV_CLOCK) * _FLV_CLOCK
            before = packet.dts
        _shift(packet, shift)
        yield packet


def _shift(packet: av.Packet, ticks: int) -> None:
    if ticks:
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


def _joined(
    stream: av.VideoStream, packets: Iterable[av.Packet], base: Fraction
) -> Iterator[av.Packet]:
    step = round(1 / ((stream.guessed_rate or 25) * base))
    shift, before = 0, None
    for packet in packets:
        if packet.dts is not None:
            late = 0 if before is None else packet.dts + shift - before
            if late * base > _GAP or late * base < -_BACK:
                shift += step - late
            before = packet.dts + shift
        _shift(packet, shift)
        yield packet


def lacks_times_of_display(
    container: str, stream: av.VideoStream, packets: Sequence[av.Packet], shown: Sequence[av.Packet]
) -> bool:
    """Whether packets only have the times at which they are decoded, as in an avi or asf, and
    frames change places; they are then counted, in the order in which the decoder shows them.

    FFmpeg reckons the times of display of MPEG-4, but not of H.264, nor where pictures are packed.
    Packets without known times of display get those of decoding.

    Args:
        container: FFmpeg's name of the format.
        stream: the video stream.
        packets: all of it.
        shown: those whose pictures are to be seen.
    """
    unknown = any(packet.pts is None for packet in shown)
    if container in ("avi", "asf") and not unknown:
        times = [packet.pts or 0 for packet in packets]
        packed = _PACKED.search(bytes(packets[0])[:_HEADER_BYTES]) is not None
        unknown = packed or times == sorted(times)
    if unknown:
        for packet in packets:
            packet.pts = packet.dts
    return unknown and bool(stream.codec_context.has_b_frames)


class Ending:
    """Takes note of every packet of a file, and says whether the file ends before its header does.

    An avi's header counts slots of time, others (mkv, flv) seconds. An mp4's counts packets, see
    `container.promised_packets`.

    Args:
        container: the file.
        stream: its video stream.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream) -> None:
        self._stream = stream
        is_avi = container.format.name == "avi"
        self._slots = stream.frames if is_avi else 0
        counted = is_avi or promised_packets(container, stream)
        self._seconds = 0.0 if counted else (container.duration or 0) / av.time_base
        self._first = self._last = 0.0
        self._seen = 0

    def note(self, packet: av.Packet) -> None:
        """Take a packet of any stream: the longest one tells of a missing end."""
        if not (self._slots or self._seconds) or not packet.size or packet.pts is None:
            return
        base = packet.time_base
        if not base:
            return
        end = packet.pts + (packet.duration or 0)
        self._first = min(self._first, packet.pts * base.numerator / base.denominator)
        self._last = max(self._last, end * base.numerator / base.denominator)
        if packet.stream is self._stream:
            self._seen = max(self._seen, end)

    @property
    def problem(self) -> str:
        """Where the file ends, in words; empty at its end."""
        if self._seen < COMPLETE * self._slots - 1:
            return f"it ends after {self._seen} of {self._slots} frames' time"
        length = self._last - self._first  # a clock that runs over begins below 0
        if length < COMPLETE * self._seconds - 0.5:
            return f"it ends after {length:.1f} of {self._seconds:.1f} s"
        return ""
