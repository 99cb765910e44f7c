"""`python -m data_prep shapes`: moving-shapes videos as shards."""

from __future__ import annotations

from pathlib import Path

from data_prep.options import ShapesOptions
from data_prep.shards.output import building
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.progress import Progress
from lightning_artv.synthetic.scenes import Scene, scene_at
from lightning_artv.synthetic.worlds import World, world_at


def write_shapes(out: Path, options: ShapesOptions, overwrite: bool = False) -> list[Path]:
    """Write videos of moving shapes; the same options write the same bytes.

    `key.json` holds the `Scene` (`plain`, `torus`) or the `World` (`worlds`, harder), so that
    everything about a video can be checked later.

    Returns:
        the shards.

    Raises:
        UserError: `out` holds something already, or an impossible size.
    """
    seed, split, fps = options.seed, options.split, options.fps
    progress = Progress(options.count, "video")
    with building(out, overwrite) as folder, ShardWriter(folder, options.shard_size) as writer:
        for index in range(options.count):
            scene: Scene | World
            if options.scenes == "worlds":
                scene = world_at(index, seed, split, options.size)
            else:
                inside = None if options.scenes == "torus" else options.frames
                scene = scene_at(index, seed, split, options.size, inside, options.color)
            pictures = scene.video(options.frames)
            meta = {**scene.to_dict(), "fps": fps, "seed": seed, "split": split}
            video = encode_lossless(pictures, fps)
            writer.write(f"{split}-{seed}-{index:06d}", video, scene.caption(), meta)
            progress(1)
    progress.finish()
    return [out / shard.name for shard in writer.shards]
