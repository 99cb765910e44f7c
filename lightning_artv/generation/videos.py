"""Videos from a trained system, written frame by frame as they are made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_artv.diffusion.noise import generators_for
from lightning_artv.errors import UserError
from lightning_artv.files import to_json
from lightning_artv.generation.storyboard import Shot
from lightning_artv.media import FrameWriter, Picture, open_writer, partial_path, picture
from lightning_artv.systems.base import DEFAULT_FPS, SamplingSettings, Segment, VideoModel

OnFrame = Callable[[int], None]
"""Told after each frame how many frames were written at that moment, one per video of the batch."""


@dataclass(frozen=True)
class VideoRequest:
    """One video to make.

    Attributes:
        shots: what it shows.
        output: `.mp4`, `.gif`, or a folder of pictures.
        seed: seed of all its noise; the same seed gives the same video in any batch.
        first_frame: uint8 `[3, H, W]`, or None to have the system make its own.
        record: what makes it, to be put beside it, or None.
    """

    shots: tuple[Shot, ...]
    output: Path
    seed: int = 0
    first_frame: Tensor | None = None
    record: Mapping[str, Any] | None = None


def generate_video(
    system: VideoModel,
    prompt: str | Sequence[Shot],
    output: str | Path,
    frames: int = 16,
    size: tuple[int, int] | None = None,
    image: Picture | None = None,
    seed: int = 0,
    fps: float | None = None,
    settings: SamplingSettings | None = None,
    on_frame: OnFrame | None = None,
) -> Path:
    """Make one video and return its path.

    Args:
        system: what `load_system` gave.
        prompt: a text, or a storyboard.
        output: `.mp4`, `.gif`, or a name without suffix for a folder of pictures.
        frames: number of frames of the whole video, the first frame included; a storyboard brings
            its own.
        size: (height, width); None for the size that the system was trained at.
        image: the first frame (`media.picture`), scaled and cropped to the size; None: the system
            makes it.
        seed: seed of all noise.
        fps: frames per second of the file; None for the frame rate that the system was trained at.
        settings: settings of sampling; None for the system's own.
        on_frame: told about progress.

    Raises:
        UserError: a size that the system cannot make, or an image or output that cannot be used.
    """
    size = video_size(system, size)
    fps = fps or video_fps(system, settings)
    shots = (Shot(prompt, frames),) if isinstance(prompt, str) else tuple(prompt)
    first = None if image is None else picture(image, size)
    request = VideoRequest(shots, Path(output), seed, first)
    generate_videos(system, [request], size, fps, settings, on_frame)
    return Path(output)


def generate_videos(
    system: VideoModel,
    requests: Sequence[VideoRequest],
    size: tuple[int, int],
    fps: float,
    settings: SamplingSettings | None = None,
    on_frame: OnFrame | None = None,
) -> None:
    """Make a batch of videos with the same frame counts.

    Frames are written as they are made. Where the work ends early, those of each video are kept
    under another name (`partial_path`), which a line on stderr tells.

    Raises:
        UserError: requests that do not fit in one batch, or an output that cannot be written.
    """
    segments = _segments(requests)
    generators = [generators_for(request.seed, ["video"])[0] for request in requests]
    first = _first_frames(requests)
    writers: list[FrameWriter] = []
    try:
        with ExitStack() as stack:
            frames = system.generate(segments, generators, size, first, settings)
            for request in requests:
                writers.append(stack.enter_context(_writer(request, size, fps)))
            for batch in _in_inference(frames):
                for writer, frame in zip(writers, batch.cpu(), strict=True):
                    writer.write(frame)
                if on_frame is not None:
                    on_frame(len(requests))
    except BaseException:
        for writer in writers:
            _tell_kept(writer, sum(segment.frames for segment in segments))
        raise


def _writer(
    request: VideoRequest, size: tuple[int, int], fps: float
) -> AbstractContextManager[FrameWriter]:
    record = None if request.record is None else to_json(request.record)
    return open_writer(request.output, fps, size, keep_partial=True, record=record)


def _tell_kept(writer: FrameWriter, total: int) -> None:
    kept = partial_path(writer.path)
    if writer.frames and kept.exists():
        count = f"{writer.frames} of {total} frames of {writer.path}"
        print(f"{count} are finished and kept in {kept}.", file=sys.stderr, flush=True)


def video_size(system: VideoModel, size: tuple[int, int] | None) -> tuple[int, int]:
    """`size`, or the trained one, checked.

    Raises:
        UserError: no size known, or one not divisible by the system's multiple.
    """
    size = size or system.origin.size
    if size is None:
        raise UserError(
            "The checkpoint does not say its frame size: give one, such as --size 64x64."
        )
    multiple = system.size_multiple
    if min(size) < 1 or size[0] % multiple or size[1] % multiple:
        near = "x".join(str(max(multiple, round(side / multiple) * multiple)) for side in size)
        raise UserError(
            f"The size {size[0]}x{size[1]} is not divisible by {multiple}, as this system needs: "
            f"use {near}."
        )
    return size


def video_fps(system: VideoModel, settings: SamplingSettings | None = None) -> float:
    """The frame rate of what the system makes, or 8."""
    return system.frame_rate(settings or system.sampling) or DEFAULT_FPS


def in_bfloat16(device: torch.device, precision: str) -> bool:
    """Whether to generate in bfloat16; precision `auto` is that on CUDA, else float32."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context to generate in."""
    if in_bfloat16(device, precision):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def _segments(requests: Sequence[VideoRequest]) -> list[Segment]:
    if not requests:
        raise UserError("There is no video to make.")
    lengths = {tuple(shot.frames for shot in request.shots) for request in requests}
    if len(lengths) != 1:
        raise UserError("The videos of one batch must have the same numbers of frames.")
    columns = zip(*(request.shots for request in requests), strict=True)
    return [Segment(tuple(shot.prompt for shot in shots), shots[0].frames) for shots in columns]


def _first_frames(requests: Sequence[VideoRequest]) -> Tensor | None:
    given = [request.first_frame for request in requests if request.first_frame is not None]
    if given and len(given) != len(requests):
        raise UserError("Either all videos of one batch have a first frame, or none.")
    return torch.stack(given) if given else None


def _in_inference(frames: Iterator[Tensor]) -> Iterator[Tensor]:
    """Drive the iterator without gradients (a context held across its `yield` would leak)."""
    while True:
        with torch.no_grad():
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
