"""The step `images`: captioned pictures as shards of videos that zoom and pan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import av
import pyarrow as pa

from data_prep.engine import Work
from data_prep.engine.failure import BadVideo, failure
from data_prep.options.images import ImageOptions
from data_prep.shards.transcode import meta_of
from data_prep.shards.x264 import ClipEncoder
from data_prep.shards.zoompan import Box, boxes, draw, views
from data_prep.sources.pictures import Picture, open_picture
from data_prep.tables import STATUS, Row
from lightning_artv.data.decode import DecodeError

CLIPS = pa.list_(pa.struct([("video", pa.binary()), ("meta", pa.string())]))


@dataclass(frozen=True)
class Animate:
    """A `Job`: a row's picture -> `clips`, one mp4 and JSON with its facts.

    A video depends on its picture, its key and the options, so it is the same in any process.
    """

    options: ImageOptions
    batch: int = 1
    schema: pa.Schema = field(
        default_factory=lambda: pa.schema([("clips", CLIPS), *STATUS]), compare=False
    )

    def open(self) -> Work:
        """Nothing to load."""
        return lambda rows: [self._clip(row) for row in rows]

    def _clip(self, row: Row) -> Row:
        try:
            picture = open_picture(row["path"])
            with picture.image:
                video, meta = self._video(picture, row["key"])
        except DecodeError as error:
            kind, reason = failure(error)
            return {"status": "failed", "error_kind": kind, "error": reason}
        return {"status": "ok", "clips": [{"video": video, "meta": json.dumps(meta)}]}

    def _video(self, picture: Picture, key: str) -> tuple[bytes, dict[str, object]]:
        options = self.options
        drawn = draw(picture.size, options, Random(f"{options.seed}:{key}"))
        if drawn is None:
            has, needs = (" x ".join(map(str, size)) for size in (picture.size, options.shape))
            reason = f"it has {has} pixels: too few for a box of {needs} that moves"
            raise BadVideo("too_small", reason)
        repairs = picture.repairs
        seen = boxes(*drawn, options.frames)
        encoder = encode(picture, seen, options)
        meta = meta_of(*encoder.size, encoder.times)
        first, last = ([round(edge, 4) for edge in vars(box).values()] for box in drawn)
        facts = {"start": 0.0, "copied": False, "boxes": [first, last], "repaired": repairs}
        return encoder.video, {**meta, **facts}


def encode(picture: Picture, seen: Sequence[Box], options: ImageOptions) -> ClipEncoder:
    """Encode what is in the boxes; the picture is shrunk before, where even the smallest box has
    several pixels for each of the video's.

    Raises:
        BadVideo: the picture cannot be decoded.
    """
    shrink = max(1, int(min(box.width for box in seen) / options.shape[0]))
    pixels, factor = picture.load(shrink)
    encoder = ClipEncoder(options.fps, options)
    shown = views(pixels, [box.shrunk(factor) for box in seen], options.shape)
    for number, view in enumerate(shown):
        frame = av.VideoFrame.from_ndarray(view, format="rgb24")
        encoder.add(frame, 1.0, number / options.fps)
    encoder.finish()
    return encoder


def write_listed(source: Path, out: Path, held_out: float) -> Path:
    """List a folder of captioned pictures as the selection that `write_selection` reads: all."""
    from data_prep.options import SelectOptions
    from data_prep.selection.select import select
    from data_prep.sources.listing import write_listing

    write_listing("folder", source, None, out / "listing.parquet")
    everything = SelectOptions(motion=None, distance=None, held_out=held_out)
    select(out / "listing.parquet", out / "selected.parquet", everything)
    return out / "selected.parquet"
