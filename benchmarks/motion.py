"""How much of the decoder's speed is left when every score is computed.

`python -m benchmarks.motion VIDEOS`, files or folders, on one core. Four loops over the same
videos, in turn, the best of several rounds each, in CPU time (other programs may be running):

- decode: PyAV decodes every frame; nobody looks at the pixels.
- decode to BGR: every decoded frame becomes an array, as PySceneDetect (and everyone) reads it.
- content score: that, resized, and the content score alone. The scores are only equal to
  PySceneDetect's if its resizing and HSV are done, by OpenCV; on videos hardly larger than the 256
  pixels that are scored, these two alone cost about a fifth of decoding. The larger a video, the
  less they count.
- analyse: `data_prep.measure.analyse`, one decode and all scores; with `--step 2` of every second
  frame, which equals PySceneDetect's `frame_skip` 1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
from av.video.reformatter import VideoReformatter

from data_prep.measure.analyse import analyse
from data_prep.measure.motion import ContentScore, analysis_size
from data_prep.options import AnalyseOptions
from data_prep.sources.rows import VideoEntry

SUFFIXES = {".mp4", ".mkv", ".avi", ".mov", ".webm"}


def decode(path: Path, to_bgr: bool = False) -> int:
    """Decode every frame on one thread; how many."""
    frames = 0
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            frames += 1
            if to_bgr:
                frame.to_ndarray(format="bgr24")
    return frames


def content_score(path: Path) -> int:
    """Decode every frame and compute its content score, nothing else."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        size = analysis_size(stream.width, stream.height)
        reformatter, content, small = VideoReformatter(), ContentScore(), None
        for frame in container.decode(stream):
            picture: Any = reformatter.reformat(frame, format="bgr24", threads=1).to_ndarray()
            if size is not None:
                picture = small = cv2.resize(picture, size, dst=small)
            content.add(picture)
    return len(content.values)


def analysed(path: Path, step: int = 1) -> int:
    """Analyse a video; how many frames were decoded."""
    row = analyse(VideoEntry(path.stem, str(path), "a caption"), AnalyseOptions(step))
    if row["status"] != "ok":
        raise SystemExit(f"error: {path}: {row['error']}")
    return int(row["frames"])


def seconds(work: Callable[[Path], int], path: Path) -> tuple[float, int]:
    start = time.process_time()
    frames = work(path)
    return time.process_time() - start, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", type=int, default=1, help="score every so many frames")
    options = parser.parse_args()
    for path in options.paths:
        if not path.exists():
            parser.error(f"There is no video or folder '{path}'.")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    av.logging.set_level(av.logging.ERROR)
    given = [p for path in options.paths for p in ([path] if path.is_file() else path.iterdir())]
    videos = sorted(path for path in given if path.suffix in SUFFIXES)
    works: dict[str, Callable[[Path], int]] = {
        "decode": decode,
        "decode to BGR": lambda path: decode(path, to_bgr=True),
        "content score": content_score,
        "analyse": lambda path: analysed(path, options.step),
    }
    best = {name: dict.fromkeys(videos, float("inf")) for name in works}
    frames: dict[str, int] = {}
    for _ in range(options.rounds):
        frames = dict.fromkeys(works, 0)
        for path in videos:
            for name, work in works.items():
                taken, count = seconds(work, path)
                best[name][path] = min(best[name][path], taken)
                frames[name] += count
    rates = {name: frames[name] / sum(best[name].values()) for name in works}
    print(f"{len(videos)} videos, one core, best of {options.rounds} rounds")
    for name, rate in rates.items():
        share = f"analyse runs at {rates['analyse'] / rate:.1%} of it" if name != "analyse" else ""
        print(f"{name:14} {frames[name]:6} frames {rate:8.1f} frames/s  {share}".rstrip())


if __name__ == "__main__":
    main()
