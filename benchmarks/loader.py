"""Training windows a second and core: shards of `data_prep shards` against originals of GOP 250.

python benchmarks/loader.py [--videos FOLDER] [--count 8] [--seconds 10]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import chain, repeat
from pathlib import Path

import torch
from originals import originals, smaller

from data_prep.shards.transcode import longest_gop
from lightning_artv.data.shards import ClipSettings, ShardDataset
from lightning_artv.data.tar import ShardWriter
from lightning_artv.systems.artv.windows import NextFrame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="real ones; default: synthetic, 336 x 596")
    parser.add_argument("--count", type=int, default=8, help="videos")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    videos = list(originals(options.videos, options.count))
    kinds = {
        "originals": videos,
        "originals, GOP 24 only": [smaller(video, None) for video in videos],
        "shards (short side 320, GOP 24)": [smaller(video) for video in videos],
    }
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for name, stored in kinds.items():
            out = Path(folder, str(len(rates)))
            write(out, stored)
            rates.append(rate(out, options.seconds))
            gop = max(longest_gop(video) for video in stored)
            size = sum(map(len, stored)) / 1e6
            print(
                f"{name:32} {rates[-1]:6.1f} windows/s/core ({rates[-1] / rates[0]:.2f} x), "
                f"longest GOP {gop}, {size:.1f} MB",
                flush=True,
            )


def write(out: Path, videos: list[bytes]) -> None:
    with ShardWriter(out) as writer:
        for number, video in enumerate(videos):
            writer.write(f"{number:05d}", video, "a caption", {})


def rate(shards: Path, seconds: float) -> float:
    """Windows for each second of this process's CPU time, which other processes do not disturb."""
    dataset = ShardDataset(shards, ClipSettings(NextFrame(), (256, 256), fps=8.0))
    samples = chain.from_iterable(repeat(dataset))
    next(samples)
    started, used, count = time.monotonic(), time.process_time(), 0
    while time.monotonic() - started < seconds:
        next(samples)
        count += 1
    return count / (time.process_time() - used)


if __name__ == "__main__":
    main()
