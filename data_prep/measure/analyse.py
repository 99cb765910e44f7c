"""Everything that is measured about a video, in one decode."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import pyarrow as pa

from data_prep.engine import Work
from data_prep.engine.failure import BadVideo, failure, words
from data_prep.measure import motion, quality
from data_prep.measure.columns import add_columns
from data_prep.measure.decode_pass import DecodePass
from data_prep.options import AnalyseOptions, EngineOptions
from data_prep.options.recipe import Source
from data_prep.sources.files import open_video, read_source
from data_prep.sources.listing import entry_of, write_listing
from data_prep.sources.rows import VideoEntry
from data_prep.tables import columns_of
from lightning_artv.media.container import video_stream


@dataclass(frozen=True)
class Analysis:
    """The columns that `analyse` fills; all but the first three are None in a failed row.

    Attributes:
        status: `ok` or `failed`.
        error_kind: one of `engine.failure.ERROR_KINDS`, or None.
        error: the reason in words, or None.
        motion: mean content score over the scored frames but the first.
        motion_fps: scored frames per second.
        motion_step: `AnalyseOptions.step`.
        motion_version: version of PySceneDetect.
        cuts: seconds since the first frame.
        brightness: mean value (V of HSV) over the scored frames, in [0, 255].
        sharpness: see `quality.sharpness`.
        black_share: share of the scored frames that are black, in [0, 1].
        frozen_share: share of the scored frames but the first that repeat the one before.
        watermark: see `quality.watermark`; None where it cannot be told.
        width: stored pixels, after the rotation.
        height: stored pixels, after the rotation.
        rotation: degrees counter-clockwise that the stored picture is turned by, in [0, 360).
        fps: mean frame rate.
        variable_fps: whether frames last differently long.
        frames: how many were decoded.
        duration: seconds, with the last frame's.
        codec: FFmpeg's name.
        size_bytes: bytes of the file.
        phash: see `quality.perceptual_hash`.
    """

    status: str
    error_kind: str | None = None
    error: str | None = None
    motion: float | None = None
    motion_fps: float | None = None
    motion_step: int | None = None
    motion_version: str | None = None
    cuts: list[float] | None = None
    brightness: float | None = None
    sharpness: float | None = None
    black_share: float | None = None
    frozen_share: float | None = None
    watermark: float | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    fps: float | None = None
    variable_fps: bool | None = None
    frames: int | None = None
    duration: float | None = None
    codec: str | None = None
    size_bytes: int | None = None
    phash: str | None = None


@dataclass(frozen=True)
class Analyse:
    """A `Job`: everything that one decode tells, a video a call."""

    options: AnalyseOptions
    batch: int = 1
    schema: pa.Schema = field(default_factory=lambda: pa.schema(columns_of(Analysis)))

    def open(self) -> Work:
        """Nothing to load."""
        return lambda rows: [analyse(entry_of(row), self.options) for row in rows]


def analyse_source(
    source: Source,
    listing: Path,
    out: Path,
    options: AnalyseOptions,
    engine: EngineOptions,
    overwrite: bool = False,
) -> bool:
    """List a source and analyse its videos, see `add_columns`."""
    write_listing(source.kind, source.path, source.videos, listing)
    job = Analyse(options)
    return add_columns(listing, out, job, asdict(options), "motion", engine, overwrite)


def analyse(entry: VideoEntry, options: AnalyseOptions) -> dict[str, Any]:
    """One row of `Analysis` columns; whatever is wrong with the video becomes a failed row.

    Each frame is decoded once, on one thread, and converted once; memory does not grow with the
    video's length but for two numbers per frame.
    """
    try:
        row = _analysis(entry.path, options)
    except Exception as error:  # whatever it is: the other videos are to be analysed
        row = Analysis("failed", *failure(error))
    return dict(vars(row))


def _analysis(path: str, options: AnalyseOptions) -> Analysis:
    source = read_source(path)
    cv2.setNumThreads(1)  # one process per core is the engine's business
    with open_video(source) as container:
        stream = video_stream(container)
        assert stream is not None
        stream.codec_context.thread_count = 1
        stream.thread_type = "NONE"
        seen = DecodePass(container, stream, options.step)
        try:
            # all streams' packets: the longest tells of a missing end
            for packet in itertools.chain(seen.packets(container.demux()), [None]):
                for frame in stream.decode(packet):
                    seen.add(frame)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise BadVideo(seen.damage, f"frame {seen.frames}: {words(error)}") from error
        seen.check()
        size_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
        return _row(seen, options, size_bytes)


def _row(seen: DecodePass, options: AnalyseOptions, size_bytes: int) -> Analysis:
    scores, values = seen.content.scores, seen.content.values
    clock = seen.clock()
    step = options.step
    scored = clock.times[::step][: len(values)]
    width, height, rotation = seen.shown()
    return Analysis(
        status="ok",
        motion=sum(scores) / len(scores),
        motion_fps=clock.fps / step,
        motion_step=step,
        motion_version=motion.VERSION,
        cuts=motion.find_cuts(scores, scored, clock.base, clock.rate, options.cut_threshold),
        brightness=sum(values) / len(values),
        sharpness=quality.sharpness(seen.sample.pictures[::2]),
        black_share=sum(v < quality.BLACK_VALUE for v in values) / len(values),
        frozen_share=sum(s < quality.FROZEN_SCORE for s in scores) / len(scores),
        watermark=quality.watermark(seen.sample.pictures),
        width=width,
        height=height,
        rotation=rotation,
        fps=clock.fps,
        variable_fps=clock.variable,
        frames=seen.frames,
        duration=seen.frames / clock.fps,
        codec=seen.codec,
        size_bytes=size_bytes,
        phash=quality.perceptual_hash(seen.sample.pictures),
    )
