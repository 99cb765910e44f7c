"""`python -m benchmarks.loader`: training samples per second and core, from latents and videos.

Rates are per second of this process's CPU time, which other processes do not disturb; those of
several workers are by the clock and mean something on idle cores only.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks.documents import Row, print_rows
from benchmarks.originals import originals, smaller
from data_prep.shards.transcode import longest_gop
from lightning_artv.data.datamodule import VideoDataModule
from lightning_artv.data.latents import pack
from lightning_artv.data.members import LATENTS_KEY
from lightning_artv.data.shards import ClipSettings, Place, Sample, ShardDataset
from lightning_artv.data.tar import RawSample, ShardWriter
from lightning_artv.data.timeline import own_rate, timeline
from lightning_artv.media.container import STORED_UPRIGHT, to_rgb
from lightning_artv.systems.artv.windows import NextFrame

SIDE, LATENT, FPS = 320, 40, 8.0
SAMPLES, BATCH = 200, 32


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="real ones; default: synthetic, 336 x 596")
    parser.add_argument("--count", type=int, default=4, help="videos")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU time of each measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_rows(rows(options.videos, options.count, options.seconds))


def rows(source: Path | None = None, count: int = 2, seconds: float = 3.0) -> Iterator[Row]:
    """Everything; videos are those of a folder, or synthetic."""
    with tempfile.TemporaryDirectory() as folder:
        yield from latents(Path(folder), seconds)
        yield from videos(Path(folder), source, count, seconds)
        yield from workers(Path(folder, "latents-144"))


def latents(folder: Path, seconds: float) -> Iterator[Row]:
    """Stored latents of 320 pixels: a window of four frames of each clip."""
    for frames in (16, 144):
        dataset = opened(latent_shards(folder / f"latents-{frames}", frames))
        yield (
            f"samples from latents of {frames} frames, per second and core",
            f"{read_rate(dataset, seconds):,.0f}",
        )


def videos(folder: Path, source: Path | None, count: int, seconds: float) -> Iterator[Row]:
    """Windows from videos: as people have them, as `data_prep shards` writes them; and from the
    latter by a loader that decodes whole clips.
    """
    given = list(originals(source, count))
    kinds = {"originals": given, "shards (short side 320, GOP 24)": [smaller(v) for v in given]}
    found = {}
    for number, (name, stored) in enumerate(kinds.items()):
        out = folder / f"videos-{number}"
        with ShardWriter(out) as writer:
            for key, video in enumerate(stored):
                writer.write(f"{key:05d}", video, "a caption", {})
        dataset = opened(out, (256, 256))
        found[name] = read_rate(dataset, seconds)
        gop = max(map(longest_gop, stored))
        yield f"windows from {name}, GOP {gop}, per second and core", f"{found[name]:.1f}"
    whole = rate(lambda n: whole_clip(dataset, Place(n, 0)), len(dataset), seconds)
    yield "the same shards, each clip decoded whole", f"{whole:.1f}"
    yield "ours / whole clips", f"{found[name] / whole:.2f}"


def workers(shards: Path) -> Iterator[Row]:
    """Batches through the data module, and what a worker's memory comes to."""
    for count in (0, 1, 2):
        data = VideoDataModule(
            str(shards), size=SIDE, windows=NextFrame(), batch_size=BATCH, num_workers=count
        )
        stream = iter(data.train_dataloader())
        for _ in range(4):
            next(stream)
        grown = []
        for batches in (20, 80, 160):
            began = time.perf_counter()
            for _ in range(batches):
                next(stream)
            spent = time.perf_counter() - began
            grown.append(max(map(peak_memory, worker_processes()), default=0))
        yield f"latents, {count} workers, samples per second", f"{BATCH * batches / spent:,.0f}"
        if count:
            told = ", ".join(f"{size / 2**20:.0f}" for size in grown)
            yield f"peak MiB of one of {count} workers after 24, 104, 264 batches", told
        del stream


def worker_processes() -> list[int]:
    """Ids of this process's children."""
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def peak_memory(pid: int) -> int:
    """Bytes of memory that a process had at most, so far."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def latent_shards(out: Path, frames: int) -> Path:
    """Shards of random latents."""
    rng = np.random.default_rng(0)
    times = [index / FPS for index in range(frames)]
    with ShardWriter(out, 100) as writer:
        for number in range(SAMPLES):
            moments = rng.standard_normal((frames, 8, LATENT, LATENT), np.float32)
            stored = pack(torch.from_numpy(moments), times, (SIDE, SIDE))
            writer.write(f"{number:05d}", stored, "a dog runs", {"fps": FPS}, LATENTS_KEY)
    return out


def opened(shards: Path, size: tuple[int, int] = (SIDE, SIDE)) -> ShardDataset:
    """Windows of the paper's."""
    return ShardDataset(shards, ClipSettings(NextFrame(), size, FPS))


def read_rate(dataset: ShardDataset, seconds: float) -> float:
    """Samples per second of CPU time."""
    return rate(lambda number: dataset.read(Place(number, 0)), len(dataset), seconds)


def rate(call: Callable[[int], object], numbers: int, seconds: float) -> float:
    """Calls per second of CPU time: the best of many runs, each over all numbers or 50 of them."""
    some: Sequence[int] = range(min(numbers, 50))
    for number in some:
        call(number)
    began, best = time.process_time(), float("inf")
    for start in cycle(range(0, numbers, len(some))):
        before = time.process_time()
        for number in some:
            call((start + number) % numbers)
        now = time.process_time()
        best = min(best, now - before)
        if now - began > seconds:
            break
    return len(some) / best


def whole_clip(dataset: ShardDataset, place: Place) -> Sample:
    """What `ShardDataset.read` makes of a sample, by decoding all frames of its video."""
    raw: RawSample = dataset.index.read(place.number)
    rng = random.Random(f"{dataset.seed}:{place.epoch}:{raw.key}")
    with av.open(io.BytesIO(raw.files[raw.content])) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = list(container.decode(video=0))
    times = [frame.time - frames[0].time for frame in frames]
    ticks = timeline(times, dataset.clips.fps)
    window = dataset.clips.windows.choose(len(ticks), rng)
    pictures = [
        to_rgb(frames[ticks[index]], dataset.clips.size, 1.0, STORED_UPRIGHT)
        for index in window.frames
    ]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    fps = (dataset.clips.fps or own_rate(times)) / window.spacing
    return Sample(pixels, torch.tensor(window.choice), raw.files["txt"].decode(), raw.key, fps)


if __name__ == "__main__":
    main()
