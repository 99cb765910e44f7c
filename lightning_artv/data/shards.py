"""WebDataset shards: `00000.tar` holding `key.mp4 key.txt key.json`, read sample by sample.

Nothing read from a shard is executed or unpickled: of each sample only the video and the caption
are looked at, and only by this module.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from lightning_artv.batch import VideoBatch
from lightning_artv.data.captions import BadCaption, caption_of, require_captions
from lightning_artv.data.decode import DecodeError, Video, square
from lightning_artv.data.index import ShardIndex, open_index
from lightning_artv.data.latents import StoredLatents
from lightning_artv.data.members import KNOWN, LATENTS_KEY
from lightning_artv.data.mix import Mix, Part, Shards, sets_of
from lightning_artv.data.position import order
from lightning_artv.data.stats import Fate, Outcome, Problem, Stats
from lightning_artv.data.tar import RawSample, expand
from lightning_artv.data.timeline import own_rate, timeline
from lightning_artv.data.windows import Windows
from lightning_artv.errors import DataError

_READ_WHOLE = KNOWN - {LATENTS_KEY}
"""Of latents only a window's frames are read."""


@dataclass(frozen=True)
class Sample:
    """One window of a video and the targets it serves; see `VideoBatch`.

    Attributes:
        frames: uint8 pixels `[F, 3, H, W]` or stored moments float16 `[F, 2C or C, h, w]`.
        choice: int64 `[K, R]`.
        caption: empty for "no text".
        key: the sample's name in its shard.
        rate: frames per second of its frames; 0 where it cannot be told.
    """

    frames: Tensor
    choice: Tensor
    caption: str
    key: str
    rate: float = 0.0


def require_one_kind(windows: Sequence[Tensor]) -> None:
    """Windows `[F, C, H, W]` must be stackable.

    Raises:
        DataError: videos and stored latents, or latents of two autoencoders.
    """
    kinds = {(w.dtype, w.shape) for w in windows}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{str(d)[6:]} {tuple(shape)}" for d, shape in kinds))
        raise DataError(
            f"Samples of different kinds cannot be in one batch ({names}): use shards of videos, "
            "or latents of one autoencoder."
        )


def collate(samples: Sequence[Sample]) -> VideoBatch:
    """Samples -> one batch, in order.

    Raises:
        DataError: videos and stored latents, or latents of two autoencoders, in one batch.
    """
    require_one_kind([s.frames for s in samples])
    return VideoBatch(
        frames=torch.stack([s.frames for s in samples]),
        choice=torch.stack([s.choice for s in samples]),
        captions=tuple(s.caption for s in samples),
        keys=tuple(s.key for s in samples),
        rates=torch.tensor([s.rate for s in samples]),
    )


@dataclass(frozen=True)
class ClipSettings:
    """How a video becomes training examples.

    Attributes:
        windows: chooses the frames.
        size: (height, width) in pixels.
        fps: frames per second of the timeline; None for every source frame.
    """

    windows: Windows
    size: tuple[int, int]
    fps: float | None = 8.0


@dataclass(frozen=True)
class Place:
    """A sample to read: its number in the index, and the pass over the data that it belongs to."""

    number: int
    epoch: int


class ShardDataset(Dataset[Sample]):
    """Training examples from shards, each at any time (`read`).

    The order of a pass depends on `seed` and its number only, the frames chosen from a sample on
    `seed`, the pass and its key. Corrupt samples are skipped, counted and named (`stats`); so are
    videos with fewer frames at the configured rate than a window needs. One with an empty caption
    is used without text and counted.

    Iterating gives the usable samples of the first pass, in order.

    Args:
        shards: a folder, a brace pattern such as `data/{00000..00009}.tar`, a tar, or a list of
            these or of weighted sets; local only.
        clips: how a video becomes an example.
        shuffle: how far a sample may move in the row of its shuffled shards; 0 keeps the order of
            the shards.
        seed: seed of the order and of the choice of frames.
        max_corrupt_share: more corrupt samples than this share are an error, once 20 were seen or
            as many as there are.
        need_captions: whether a set without any caption is an error.

    Raises:
        UserError: a scheme (`pipe:`, `http:`) instead of a local path; a missing file; impossible
            weights.
        DataError: no shards, empty ones, or ones without captions; while iterating, too many
            corrupt samples or none that can be used.

    Attributes:
        mix: mix of weighted sets; None for shards alone.
    """

    mix: Mix | None = None

    def __init__(
        self,
        shards: Shards,
        clips: ClipSettings,
        shuffle: int = 0,
        seed: int = 0,
        max_corrupt_share: float = 0.1,
        need_captions: bool = True,
    ) -> None:
        self.clips = clips
        self.shuffle = shuffle
        self.seed = seed
        self.index, self.mix = open_mix(shards)
        if need_captions:
            whole = (Part(0, self.index.counts, 1.0),)
            for part in self.mix.parts if self.mix else whole:
                require_captions(_Set(self.index, part), "data.need_captions false")
        self.stats = Stats(max_corrupt_share, len(self))

    def __len__(self) -> int:
        """Places of a pass, those of unusable samples included."""
        return len(self.index) if self.mix is None else len(self.mix)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The numbers of the samples in the order of pass `epoch`."""
        if self.mix is not None:
            return self.mix.pass_of(self.seed, epoch, self.shuffle)[0]
        return order(self.index.counts, self.seed, epoch, self.shuffle)

    def turns(self, epoch: int) -> NDArray[np.int64] | None:
        """Which pass over its set each sample of `order` belongs to; None: all to `epoch`."""
        return self.mix.pass_of(self.seed, epoch, self.shuffle)[1] if self.mix else None

    @property
    def identity(self) -> str:
        """Of the places of a pass and their samples; another one means another sequence."""
        weights = [part.weight for part in self.mix.parts] if self.mix else []
        return " ".join([self.index.fingerprint, *map(str, weights)])

    def read(self, place: Place) -> tuple[Sample | None, Outcome]:
        """The sample as an example, or None where it cannot be used; and what became of it."""
        raw = self.index.read(place.number, _READ_WHOLE)
        rng = random.Random(f"{self.seed}:{place.epoch}:{raw.key}")
        try:
            caption = caption_of(raw.files)
            sample = decode_example(raw, caption.text, self.clips, rng)
        except (DecodeError, BadCaption) as error:
            return None, _outcome(Fate.CORRUPT, raw, str(error))
        if sample is None:
            least, fps = self.clips.windows.least, self.clips.fps
            reason = f"fewer than {least} frames at {fps or 'its own'} fps"
            return None, _outcome(Fate.SHORT, raw, reason)
        if not caption.text:
            return sample, _outcome(Fate.EMPTY_CAPTION, raw, caption.reason)
        return sample, Outcome()

    def __iter__(self) -> Iterator[Sample]:
        turns = self.turns(0)
        for place, number in enumerate(self.order(0).tolist()):
            sample, outcome = self.read(Place(number, 0 if turns is None else int(turns[place])))
            self.stats.add(outcome)
            if sample is not None:
                yield sample


def open_samples(shards: str | Path | Sequence[str | Path]) -> ShardIndex:
    """The index of shards of one set; says which files in them belong to no sample.

    Raises:
        DataError: no shards, or not one sample in them.
    """
    index = open_index(expand(shards))
    why = f" ({index.foreign})" if index.foreign else ""
    if not len(index):
        raise DataError(f"None of the 0 samples can be used: the shards are empty{why}.")
    if why:
        warnings.warn(f"Not all files of the shards are used: {index.foreign}.", stacklevel=3)
    return index


def open_mix(shards: Shards) -> tuple[ShardIndex, Mix | None]:
    """The index of all shards, and what weighted sets they are.

    Raises:
        UserError: impossible weights.
        DataError: no shards, or not one sample in a set.
    """
    sets = sets_of(shards)
    if sets is None:
        return open_samples(shards), None  # type: ignore[arg-type]
    indexes = [open_samples(item.path) for item in sets]
    firsts = np.cumsum([0, *map(len, indexes)]).tolist()
    parts = (
        Part(first, index.counts, item.weight)
        for first, index, item in zip(firsts, indexes, sets, strict=False)
    )
    return ShardIndex.joined(indexes), Mix(tuple(parts))


@dataclass(frozen=True)
class _Set:
    """The samples of one set among all."""

    index: ShardIndex
    part: Part

    def __len__(self) -> int:
        return int(self.part.counts.sum())

    def read(self, number: int, wanted: Container[str]) -> RawSample:
        return self.index.read(self.part.first + number, wanted)


def _outcome(fate: Fate, raw: RawSample, reason: str) -> Outcome:
    return Outcome(fate, Problem(raw.key, raw.shard.name, reason))


def decode_example(
    raw: RawSample, caption: str, clips: ClipSettings, rng: random.Random
) -> Sample | None:
    """Choose frames from a sample and read them; None where it has too few.

    Raises:
        DecodeError: the video, or what is stored of it, is unreadable.
    """
    with open_frames(raw) as source:
        ticks = timeline(source.timestamps, clips.fps)
        if len(ticks) < clips.windows.least:
            return None
        window = clips.windows.choose(len(ticks), rng)
        frames = source.frames([ticks[index] for index in window.frames], square(clips.size))
        rate = (clips.fps or own_rate(source.timestamps)) / window.spacing
    return Sample(frames, torch.tensor(window.choice), caption, raw.key, rate)


def open_frames(raw: RawSample) -> Video | StoredLatents:
    """A sample's frames: its stored latents where it has some, else its video.

    Raises:
        DecodeError: it has neither, or unreadable ones, or the shard is damaged.
    """
    if raw.damage:
        raise DecodeError(raw.damage)
    return Video(raw.files[raw.content]) if raw.latents is None else StoredLatents(raw.latents)
