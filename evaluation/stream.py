"""All videos through the meters, in batches; copies among generated ones are found on the way."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence

import torch

from evaluation.finding import SetVideo
from evaluation.meters import DistanceMeter, Meter
from evaluation.videos import ClipRule, clip_batches, pixel_hash, read_clip
from lightning_artv.errors import UserError
from lightning_artv.progress import Progress


def stream_fakes(
    meters: Sequence[Meter],
    videos: Sequence[SetVideo],
    rule: ClipRule,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> str:
    """Pass generated videos through the meters, and return a digest of their pixels.

    Pixels are compared as they are decoded, so that copies are found however they are stored. After
    the first copy the networks see no more; the others are only counted.

    Raises:
        UserError: copies: they make a Fréchet distance smaller (505 videos four times: 44.5 where
            2,020 different ones give 16.9).
    """
    names: dict[str, list[str]] = defaultdict(list)
    seen = 0
    for batch, clips in clip_batches(videos, rule, batch_size):
        for video, clip in zip(batch, clips, strict=True):
            # where a random clip begins is drawn by a video's name, in which copies differ
            compared = clip if rule.choice != "random" else read_clip(video, _from_start(rule))
            names[pixel_hash(compared)].append(video.name)
        seen += len(batch)
        if len(names) == seen:
            for meter in meters:
                meter.add_fake(clips.to(device), [video.captions for video in batch])
        progress(len(batch))
    _refuse_copies(names, len(videos))
    return hashlib.sha256("".join(names).encode()).hexdigest()


def stream_reals(
    meters: Sequence[DistanceMeter],
    videos: Sequence[SetVideo],
    rule: ClipRule,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> None:
    """Pass real videos through the meters that compare with them."""
    for batch, clips in clip_batches(videos, rule, batch_size):
        for meter in meters:
            meter.add_real(clips.to(device))
        progress(len(batch))


def _from_start(rule: ClipRule) -> ClipRule:
    return dataclasses.replace(rule, choice="start")


def _refuse_copies(names: dict[str, list[str]], count: int) -> None:
    repeated = [same for same in names.values() if len(same) > 1]
    if repeated:
        raise UserError(
            f"{count - len(names)} of the {count} generated videos are exact copies of others, "
            f"such as '{repeated[0][0]}' and '{repeated[0][1]}': remove the copies."
        )
