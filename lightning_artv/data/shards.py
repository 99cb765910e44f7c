"""WebDataset shards: `00000.tar` holding `key.mp4 key.txt key.json`, read as a stream.

Nothing read from a shard is executed or unpickled: of each sample only the video and the caption
are looked at, and only by this module.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lightning_artv.batch import VideoBatch
from lightning_artv.data import latents
from lightning_artv.data.clips import choose_window, timeline
from lightning_artv.data.decode import DecodeError, Video, square
from lightning_artv.data.latents import StoredLatents
from lightning_artv.data.stats import Problem, Stats
from lightning_artv.data.tar import VIDEO_KEYS, RawSample, expand, read_shard
from lightning_artv.errors import DataError

_LEAST_SEEN = 20
_EMPTY_EPOCHS = 3


@dataclass(frozen=True)
class Sample:
    """One window of a video and the targets it serves; see `VideoBatch`.

    Attributes:
        frames: uint8 pixels `[F, 3, H, W]` or stored moments float16 `[F, 2C or C, h, w]`.
        choice: int64 `[K, 4]`.
        caption: empty for "no text".
        key: the sample's name in its shard.
    """

    frames: Tensor
    choice: Tensor
    caption: str
    key: str

    @property
    def target(self) -> Tensor:
        """The first target `[3, H, W]`."""
        return self.frames[self.choice[0, 0]]

    @property
    def references(self) -> Tensor:
        """The first target's frames i-1 and i-2, `[2, 3, H, W]`."""
        return self.frames[self.choice[0, 1:3]]

    @property
    def anchor(self) -> Tensor:
        """The anchor `[3, H, W]`."""
        return self.frames[self.choice[0, 3]]


def collate(samples: Sequence[Sample]) -> VideoBatch:
    """Samples -> one batch, in order.

    Raises:
        DataError: videos and stored latents, or latents of two autoencoders, in one batch.
    """
    kinds = {(s.frames.dtype, s.frames.shape) for s in samples}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{str(d)[6:]} {tuple(shape)}" for d, shape in kinds))
        raise DataError(
            f"Samples of different kinds cannot be in one batch ({names}): use shards of videos, "
            "or latents of one autoencoder."
        )
    return VideoBatch(
        frames=torch.stack([s.frames for s in samples]),
        choice=torch.stack([s.choice for s in samples]),
        captions=tuple(s.caption for s in samples),
        keys=tuple(s.key for s in samples),
    )


@dataclass(frozen=True)
class ClipSettings:
    """How a video becomes a training example.

    Attributes:
        size: (height, width) in pixels.
        fps: frames per second of the timeline; None for every source frame.
        anchor_window: the anchor is one of this many frames before the target (Sec. 3.4).
        start_probability: how often a frame is taken as the clip's start; see `choose_frames`.
        targets_per_window: targets that share a window of frames, encoded once.
    """

    size: tuple[int, int]
    fps: float | None = 8.0
    anchor_window: int = 10
    start_probability: float = 0.1
    targets_per_window: int = 1


class ShardDataset(IterableDataset[Sample]):
    """Training examples streamed from shards.

    In each epoch every sample comes exactly once over all ranks and workers: they share out the
        shards where there
    are enough, else the samples. The order depends on `seed`, the epoch and who reads; the frames
    chosen from a sample depend on `seed`, the epoch and its key only.

    Corrupt samples are skipped, counted and named (`stats`). A video with fewer than 2 frames at
    the configured rate is skipped and counted; one with an empty caption is used without text and
    counted.

    Args:
        shards: a folder, a brace pattern such as `data/{00000..00009}.tar`, a tar, or a list of
            these; local only.
        clips: how a video becomes an example.
        shuffle: samples held back to shuffle among (per worker, decoded); 0 keeps the order of the
            shards.
        seed: of the order and of the choice of frames.
        epochs: None for an endless stream.
        rank, world_size: which of how many processes reads.
        max_corrupt_share: more corrupt samples than this share stop the stream, once 20 were seen
            or at an epoch's end.

    Raises:
        UserError: a scheme (`pipe:`, `http:`) instead of a local path; a missing file.
        DataError: no shards; while reading, too many corrupt samples or none that can be used.
    """

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        clips: ClipSettings,
        shuffle: int = 0,
        seed: int = 0,
        epochs: int | None = 1,
        rank: int = 0,
        world_size: int = 1,
        max_corrupt_share: float = 0.1,
    ) -> None:
        self.shards = expand(shards)
        self.clips = clips
        self.shuffle = shuffle
        self.seed = seed
        self.epochs = epochs
        self.rank = rank
        self.world_size = world_size
        self.max_corrupt_share = max_corrupt_share
        self.stats = Stats()

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        epoch = empty = 0
        while self.epochs is None or epoch < self.epochs:
            used = False
            for sample in self._epoch(epoch, worker, workers):
                used = True
                yield sample
            self._end_epoch(worker, workers)
            epoch += 1
            empty = 0 if used else empty + 1
            if self.epochs is None and empty == _EMPTY_EPOCHS:
                return  # more readers than samples: with nothing to give, do not block the others

    def _epoch(self, epoch: int, worker: int, workers: int) -> Iterator[Sample]:
        reader, readers = self.rank * workers + worker, self.world_size * workers
        shards = list(self.shards)
        if self.shuffle:
            random.Random(f"{self.seed}:{epoch}").shuffle(shards)
        by_shard = len(shards) >= readers
        samples = self._examples(
            shards[reader::readers] if by_shard else shards,
            epoch,
            worker,
            (0, 1) if by_shard else (reader, readers),
        )
        return _shuffled(samples, self.shuffle, random.Random(f"{self.seed}:{epoch}:{reader}"))

    def _examples(
        self, shards: list[Path], epoch: int, worker: int, turn: tuple[int, int]
    ) -> Iterator[Sample]:
        """Decode every `turn[1]`-th sample from the `turn[0]`-th on, skipping what cannot be
        used.
        """
        position = 0
        for shard in shards:
            for raw in read_shard(shard):
                mine = position % turn[1] == turn[0]
                position += 1
                if not mine:
                    continue
                example = self._example(raw, epoch, worker)
                self.stats.check(self.max_corrupt_share, least=_LEAST_SEEN)
                if example is not None:
                    yield example

    def _example(self, raw: RawSample, epoch: int, worker: int) -> Sample | None:
        """The sample as an example, or None where it is skipped (and counted)."""
        try:
            if raw.damage:
                raise DecodeError(raw.damage)
            caption = _caption(raw)
            sample = decode_example(
                raw,
                caption,
                self.clips,
                random.Random(f"{self.seed}:{epoch}:{raw.key}"),
            )
        except DecodeError as error:
            self.stats.corrupt(worker, Problem(raw.key, raw.shard.name, str(error)))
            return None
        if sample is None:
            reason = f"fewer than 2 frames at {self.clips.fps or 'its own'} fps"
            self.stats.short(worker, Problem(raw.key, raw.shard.name, reason))
            return None
        self.stats.used(worker)
        if not caption:
            self.stats.empty_caption(worker, Problem(raw.key, raw.shard.name, "empty caption"))
        return sample

    def _end_epoch(self, worker: int, workers: int) -> None:
        """The last worker of a process to finish an epoch judges the whole of it."""
        if self.stats.end_epoch(worker, workers):
            self.stats.check(self.max_corrupt_share, least=1)
            if self.world_size == 1 or self.epochs is None:
                self.stats.require_used()


def decode_example(
    raw: RawSample, caption: str, clips: ClipSettings, rng: random.Random
) -> Sample | None:
    """Choose frames from a sample and read them; None where it has fewer than 2 frames.

    Raises:
        DecodeError: the video, or what is stored of it, is unreadable.
    """
    with open_frames(raw) as source:
        ticks = timeline(source.timestamps, clips.fps)
        if len(ticks) < 2:
            return None
        window = choose_window(
            len(ticks),
            rng,
            clips.targets_per_window,
            clips.anchor_window,
            clips.start_probability,
        )
        frames = source.frames([ticks[index] for index in window.frames], square(clips.size))
    return Sample(frames, torch.tensor(window.choice), caption, raw.key)


def open_frames(raw: RawSample) -> Video | StoredLatents:
    """A sample's frames: its stored latents where it has some, else its video.

    Raises:
        DecodeError: it has neither, or unreadable ones.
    """
    if latents.KEY in raw.files:
        return StoredLatents(raw.files[latents.KEY])
    for name in VIDEO_KEYS:
        if name in raw.files:
            return Video(raw.files[name])
    raise DecodeError(f"no video among its files ({', '.join(sorted(raw.files)) or 'none'})")


def _caption(raw: RawSample) -> str:
    try:
        return raw.files.get("txt", b"").decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DecodeError("the caption is not UTF-8 text") from error


def _shuffled(samples: Iterator[Sample], size: int, rng: random.Random) -> Iterator[Sample]:
    """Yield in random order, holding back up to `size` samples.

    The buffer grows while samples flow (two in, one out), so that the first batch need not wait
    until it is full.
    """
    buffer: list[Sample] = []
    for sample in samples:
        buffer.append(sample)
        if len(buffer) >= size or (len(buffer) >= min(size, 100) and len(buffer) % 2):
            yield _take(buffer, rng)
    while buffer:
        yield _take(buffer, rng)


def _take(buffer: list[Sample], rng: random.Random) -> Sample:
    """Remove and return a random element, in constant time."""
    index = rng.randrange(len(buffer))
    buffer[index], buffer[-1] = buffer[-1], buffer[index]
    return buffer.pop()
