"""Videos of any model or data set as equal clips: cut and brought to size.

Clips are uint8 `[T, 3, R, R]` in [0, 255].
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.arrays import ARRAY_SUFFIX, open_array
from evaluation.finding import SetVideo, pictures_in
from evaluation.protocols import Protocol
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.data.timeline import timeline
from lightning_artv.errors import UserError
from lightning_artv.media import read_image


@dataclass(frozen=True)
class ClipRule:
    """Which frames of a video are its clip, and their size; see `Protocol` for the fields."""

    frames: int
    stride: int
    fps: float | None
    choice: str
    resolution: int
    seed: int

    @classmethod
    def real(cls, p: Protocol) -> ClipRule:
        """The protocol's rule for real videos."""
        return cls(p.frames, p.stride, p.fps, p.real_clip, p.resolution, p.seed)

    @classmethod
    def fake(cls, p: Protocol) -> ClipRule:
        """The protocol's rule for generated videos: consecutive frames as they were made."""
        return cls(p.frames, 1, None, p.fake_clip, p.resolution, p.seed)


def choose(count: int, rule: ClipRule, name: str) -> list[int]:
    """The clip's indices on a timeline of `count` frames.

    Raises:
        UserError: too few frames; it names the video.
    """
    span = (rule.frames - 1) * rule.stride + 1
    spare = count - span
    if spare < 0:
        raise UserError(
            f"'{name}' has {count} frames and the protocol needs {span}: leave it out, or make it "
            "longer."
        )
    start = {"start": 0, "centre": spare // 2}.get(rule.choice)
    if start is None:
        start = random.Random(f"{rule.seed}:{name}").randint(0, spare)
    return [start + i * rule.stride for i in range(rule.frames)]


def read_clip(video: SetVideo, rule: ClipRule) -> Tensor:
    """The clip that the rule chooses, uint8 `[T, 3, R, R]`.

    Raises:
        UserError: a video that cannot be read or is too short; it is named.
    """
    return fit(_read(video, rule, rule.frames), (rule.resolution, rule.resolution))


def read_first_frame(video: SetVideo, rule: ClipRule, size: tuple[int, int]) -> Tensor:
    """The first frame of the clip that the rule chooses, uint8 `[3, H, W]` of that size.

    Raises:
        UserError: as `read_clip`.
    """
    return fit(_read(video, rule, 1), size)[0]


def _read(video: SetVideo, rule: ClipRule, leading: int) -> Tensor:
    """The clip's leading frames as they are stored, uint8 `[leading, 3, H, W]`."""
    if video.path.is_dir():
        return _read_pictures(video, rule, leading)
    if video.path.suffix.lower() == ARRAY_SUFFIX:
        array = open_array(video.path, video.index)
        chosen = choose(len(array), rule, video.name)[:leading]
        return torch.from_numpy(np.ascontiguousarray(array[chosen]))
    try:
        with Video(video.path) as opened:
            source = timeline(opened.timestamps, rule.fps)
            chosen = choose(len(source), rule, video.name)[:leading]
            return opened.frames([source[i] for i in chosen])
    except DecodeError as error:
        raise unreadable(video, error) from error


def unreadable(video: SetVideo, error: DecodeError) -> UserError:
    """The sentence on a video that cannot be read."""
    return UserError(f"'{video.path}' cannot be read: {error}; leave it out or make it again.")


def fit(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale uint8 `[T, 3, H, W]` to cover `size` (bilinear, antialiased), crop at the centre.

    Real and generated videos go through this one function: another filter for one of them would
    show in the Fréchet distance.

    Args:
        frames: frames in [0, 255].
        size: (height, width).
    """
    height, width = frames.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    cover = (max(size[0], round(height * scale)), max(size[1], round(width * scale)))
    if cover != (height, width):
        scaled = F.interpolate(frames.float(), cover, mode="bilinear", antialias=True)
        frames = scaled.round_().clamp_(0, 255).to(torch.uint8)
    top, left = (cover[0] - size[0]) // 2, (cover[1] - size[1]) // 2
    return frames[..., top : top + size[0], left : left + size[1]].contiguous()


def clip_batches(
    videos: Sequence[SetVideo], rule: ClipRule, batch_size: int
) -> Iterator[tuple[Sequence[SetVideo], Tensor]]:
    """Batches of videos with their clips, uint8 `[B, T, 3, R, R]`, in order.

    The next batch is decoded while one is used; memory is that of three batches.
    """
    batches = [videos[i : i + batch_size] for i in range(0, len(videos), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

        def begin(batch: Sequence[SetVideo]) -> list:
            return [pool.submit(read_clip, video, rule) for video in batch]

        try:
            waiting = begin(batches[0]) if batches else []
            for batch, following in itertools.zip_longest(batches, batches[1:]):
                pending, waiting = waiting, begin(following) if following else []
                yield batch, torch.stack([future.result() for future in pending])
        finally:
            pool.shutdown(cancel_futures=True)


def pixel_hash(clip: Tensor) -> str:
    """sha256 of a clip's pixels, uint8 `[T, 3, H, W]`: equal pictures have it however stored."""
    digest = hashlib.sha256(repr(tuple(clip.shape)).encode())
    digest.update(clip.contiguous().numpy().data)
    return digest.hexdigest()


def _read_pictures(video: SetVideo, rule: ClipRule, leading: int) -> Tensor:
    pictures = pictures_in(video.path)
    chosen = choose(len(pictures), rule, video.name)[:leading]
    frames = [read_image(pictures[i]) for i in chosen]
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"The pictures in '{video.path}' differ in size: make them equal.")
    return torch.stack(frames)
