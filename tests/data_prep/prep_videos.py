"""Small videos and tables for the tests of the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np

from data_prep.engine import Job, attempt
from data_prep.options import EngineOptions
from data_prep.sources.listing import LISTING
from data_prep.tables import Row, TableReader, write_rows
from lightning_artv.data.encode import encode_lossless


def moving(frames: int, seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Smooth random pictures that drift, uint8 `[T, H, W, 3]`."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 7, 3), np.uint8)
    big = np.kron(coarse, np.ones((height // 4, width // 4, 1), np.uint8))
    return np.stack([np.roll(big, (t, 2 * t), (0, 1))[:height, :width] for t in range(frames)])


def h264(frames: np.ndarray, fps: int = 12, gop: int = 250) -> bytes:
    """An ordinary mp4."""
    import io

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as writer:
        options = {"x264-params": "scenecut=0:mbtree=0", "preset": "ultrafast"}
        stream = writer.add_stream("libx264", fps, options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = "yuv420p", gop
        stream.codec_context.thread_count = 1
        for picture in frames:
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        writer.mux(stream.encode())
    return buffer.getvalue()


def make_source(folder: Path, count: int, broken: Sequence[int] = ()) -> Path:
    """A folder of `count` captioned videos; every third has one keyframe only."""
    folder.mkdir()
    lines = ["file_name,text"]
    for k in range(count):
        frames = moving(10 + k, k)
        data = h264(frames) if k % 3 == 0 else encode_lossless(frames, 12)
        (folder / f"v{k:02d}.mp4").write_bytes(b"no video" if k in broken else data)
        lines.append(f"v{k:02d}.mp4,caption {k}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def listing(path: Path, rows: Sequence[Row]) -> Path:
    """A table as the step that lists a source makes it."""
    plain = {"path": "", "caption": "c", "status": "ok"}
    write_rows(path, [{**plain, **row} for row in rows], LISTING, {"step": "list"})
    return path


def map_here(
    job: Job, table: Path, numbers: Sequence[int], options: EngineOptions
) -> Iterator[Row]:
    """An engine without processes."""
    work, reader = job.open(), TableReader(table)
    for start in range(0, len(numbers), job.batch):
        yield from attempt(work, [reader.row(n) for n in numbers[start : start + job.batch]])


def stops_after(rows: int) -> Callable[..., Iterator[Row]]:
    """`map_here`, interrupted after so many rows."""

    def stopping(
        job: Job, table: Path, numbers: Sequence[int], options: EngineOptions
    ) -> Iterator[Row]:
        for count, row in enumerate(map_here(job, table, numbers, options)):
            if count == rows:
                break
            yield row
        raise KeyboardInterrupt

    return stopping


def tree(folder: Path, without: str = ".log.json") -> dict[str, bytes]:
    """Every file's bytes, but for the logs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(without)
    }
