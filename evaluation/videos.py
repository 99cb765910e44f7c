"""Videos of any model or data set as equal clips: found, in order, cut and brought to size.

A video is a file (mp4, avi, webm, gif, ...) or a folder of pictures. Clips are uint8
`[T, 3, R, R]` in [0, 255].
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.protocols import Protocol
from lightning_artv.data.clips import timeline
from lightning_artv.data.decode import DecodeError, Video
from lightning_artv.errors import UserError
from lightning_artv.media import read_image

VIDEO_SUFFIXES = (".mp4", ".avi", ".webm", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class SetVideo:
    """One video of a set.

    Attributes:
        path: a file, or a folder of pictures.
        name: its path in the set without suffix: the key of its random choices.
        label: its class, or empty.
        captions: what it shows; empty where nothing says so.
    """

    path: Path
    name: str
    label: str = ""
    captions: tuple[str, ...] = ()


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


def natural_key(path: str | Path) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A sort key by which `frame2` comes before `frame10`, folder by folder."""
    return tuple(
        tuple(
            (0, int(part), part) if part.isdigit() else (1, 0, part)
            for part in re.split(r"([0-9]+)", name)
            if part
        )
        for name in Path(path).parts
    )


def find_videos(root: str | Path) -> list[SetVideo]:
    """All videos below `root` in natural order; their label is the folder that they are in.

    Hidden names are left out: `.x.part` is what an interrupted writer leaves.

    Raises:
        UserError: no such folder, or no video in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"There is no folder '{root}': give a folder of videos.")
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = [Path(folder) / name for name in files if not name.startswith(".")]
        videos = [path for path in visible if path.suffix.lower() in VIDEO_SUFFIXES]
        pictures = any(path.suffix.lower() in PICTURE_SUFFIXES for path in visible)
        # pictures beside videos are their thumbnails
        found += videos or ([Path(folder)] if pictures and Path(folder) != root else [])
    if not found:
        raise UserError(
            f"'{root}' holds no video: give files such as .mp4, .avi, .webm or .gif, or folders of "
            "pictures."
        )
    found.sort(key=lambda path: natural_key(path.relative_to(root)))
    return [_of_path(path, root) for path in found]


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
    try:
        with Video(video.path) as opened:
            source = timeline(opened.timestamps, rule.fps)
            chosen = choose(len(source), rule, video.name)[:leading]
            return opened.frames([source[i] for i in chosen])
    except DecodeError as error:
        raise UserError(
            f"'{video.path}' cannot be read: {error}; leave it out or make it again."
        ) from error


def fit(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Scale uint8 `[T, 3, H, W]` to cover `size` (bilinear, antialiased), crop at the centre.

    Real and generated videos go through this one function: another filter for one of them would
    show in the Fréchet distance.

    Args:
        frames: in [0, 255].
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


def files_of(video: SetVideo) -> list[Path]:
    """The file that a video is, or its pictures in order."""
    return _pictures(video.path) if video.path.is_dir() else [video.path]


def content_hash(video: SetVideo) -> str:
    """sha256 of a video's bytes; of a folder, of its pictures in order."""
    digest = hashlib.sha256()
    for path in files_of(video):
        data = path.read_bytes()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _of_path(path: Path, root: Path) -> SetVideo:
    relative = path.relative_to(root)
    name = relative if path.is_dir() else relative.with_suffix("")
    return SetVideo(path, name.as_posix(), relative.parent.name)


def _read_pictures(video: SetVideo, rule: ClipRule, leading: int) -> Tensor:
    pictures = _pictures(video.path)
    chosen = choose(len(pictures), rule, video.name)[:leading]
    frames = [read_image(pictures[i]) for i in chosen]
    if len({frame.shape for frame in frames}) > 1:
        raise UserError(f"The pictures in '{video.path}' differ in size: make them equal.")
    return torch.stack(frames)


def _pictures(folder: Path) -> list[Path]:
    pictures = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    ]
    return sorted(pictures, key=lambda path: natural_key(path.name))
