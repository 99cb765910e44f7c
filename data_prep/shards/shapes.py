"""`python -m data_prep shapes`: moving-shapes videos as shards."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from data_prep.shards.output import building
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.synthetic import Scene, Split, scene_at
from lightning_artv.data.tar import ShardWriter
from lightning_artv.data.worlds import World, world_at
from lightning_artv.errors import UserError
from lightning_artv.progress import Progress

Scenes = Literal["plain", "worlds"]


def write_shapes(
    out: Path,
    count: int,
    seed: int = 0,
    split: Split = "train",
    size: int = 32,
    frames: int = 16,
    fps: float = 8.0,
    samples_per_shard: int = 500,
    overwrite: bool = False,
    scenes: Scenes = "plain",
) -> list[Path]:
    """Write `count` videos of moving shapes; the same arguments write the same bytes.

    `key.json` holds the `Scene` (`plain`) or the `World` (`worlds`, harder), so that everything
    about a video can be checked later.

    Returns:
        the shards.

    Raises:
        UserError: `out` holds something already, or an impossible count, size or rate.
    """
    if count < 1 or frames < 2 or fps <= 0:
        raise UserError(
            f"Give at least 1 video, 2 frames and a positive fps, got {count}, {frames}, {fps:g}."
        )
    progress = Progress(count, "video")
    with building(out, overwrite) as folder, ShardWriter(folder, samples_per_shard) as writer:
        for index in range(count):
            scene: Scene | World
            if scenes == "worlds":
                scene = world_at(index, seed, split, size)
                pictures = scene.video(frames)
            else:
                scene = scene_at(index, seed, split, size, frames)
                pictures = scene.video()
            meta = {**dataclasses.asdict(scene), "fps": fps, "seed": seed, "split": split}
            video = encode_lossless(pictures, fps)
            writer.write(f"{split}-{seed}-{index:06d}", video, scene.caption(), meta)
            progress(1)
    progress.finish()
    return [out / shard.name for shard in writer.shards]
