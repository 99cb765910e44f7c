"""What writing shards spends its time on: x264's share, decoding's, everything else's.

    python benchmarks/shards.py [--videos FOLDER] [--count 8] [--preset medium] [--fps 8]

One process does all of it (the engine's transport is left out), timed in CPU seconds, which other
processes do not disturb. All videos are written twice and the second time counts: the first one
loads libraries, once per process. Muxing into memory counts as encoding (0.6 % of all).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.originals import originals
from data_prep.engine import Job
from data_prep.options import EngineOptions, SelectOptions, ShardOptions
from data_prep.selection.select import select
from data_prep.shards import write as shards_module
from data_prep.shards import x264
from data_prep.shards.write import Plan, write_shards
from data_prep.sources.listing import LISTING
from data_prep.tables import Row, TableReader, write_rows
from lightning_artv.data.decode import Video

spent: dict[str, float] = {"encoding": 0.0, "decoding": 0.0, "scaling": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="real ones; default: synthetic, 336 x 596")
    parser.add_argument("--count", type=int, default=8, help="videos")
    parser.add_argument("--preset", default=ShardOptions().preset)
    parser.add_argument("--fps", type=float, default=None)
    options = parser.parse_args()
    instrument()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        selection = make_selection(folder, options.videos, options.count)
        wanted = ShardOptions(preset=options.preset, fps=options.fps)
        for name in ("first", "out"):
            spent.update(dict.fromkeys(spent, 0.0))
            started = time.thread_time()
            write_shards(Plan(selection, False, wanted, folder / name), EngineOptions(processes=1))
        total = time.thread_time() - started
        stored = sum(path.stat().st_size for path in folder.glob("out/*.tar")) / 1e6
    parts = {**spent, "everything else": total - sum(spent.values())}
    for part, seconds in parts.items():
        print(f"{part:16} {seconds:7.2f} s  {seconds / total:6.1%}")
    print(f"{'all':16} {total:7.2f} s  for {stored:.1f} MB")
    print(f"outside encoding: {1 - spent['encoding'] / total:.1%}")


def make_selection(folder: Path, videos: Path | None, count: int) -> Path:
    rows: list[Row] = []
    for number, video in enumerate(originals(videos, count)):
        path = folder / f"{number}.mp4"
        path.write_bytes(video)
        rows.append({"key": str(number), "path": str(path), "caption": "c", "status": "ok"})
    schema = pa.schema([*LISTING, ("cuts", pa.list_(pa.float64()))])
    write_rows(folder / "listed", rows, schema, {"step": "list"})
    select(folder / "listed", folder / "sel", SelectOptions(None, distance=None))
    return folder / "sel"


def instrument() -> None:
    """Time x264, the decoder and the scaler; and work in this process."""
    shards_module.map_rows = here  # type: ignore[assignment]
    x264.ClipEncoder._encode = timed("encoding", x264.ClipEncoder._encode)  # type: ignore[method-assign]
    x264._upright = timed("scaling", x264._upright)
    decoded = Video.decode

    def decode(video: Video) -> Iterator[Any]:
        frames = decoded(video)
        step = timed("decoding", lambda: next(frames, None))
        return iter(step, None)

    Video.decode = decode  # type: ignore[method-assign]


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*arguments)
        finally:
            spent[part] += time.thread_time() - started

    return call


def here(job: Job, table: Path, numbers: Sequence[int], options: EngineOptions) -> Iterator[Row]:
    work, reader = job.open(), TableReader(table)
    for number in numbers:
        yield from work([reader.row(number)])


if __name__ == "__main__":
    main()
