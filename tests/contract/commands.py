"""What the contract's tests do with any system: its tiny shards, the command, its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from lightning_artv import cli
from lightning_artv.data.encode import encode_lossless
from lightning_artv.data.tar import ShardWriter
from lightning_artv.synthetic.scenes import scene_at

SIZE = 16


def write_scenes(folder: Path, count: int) -> None:
    """Shards of `count` scenes of 16x16 pixels and 10 frames."""
    with ShardWriter(folder) as writer:
        for index in range(count):
            scene = scene_at(index, 0, "train")
            clip = np.ascontiguousarray(scene.video()[:10, ::2, ::2])
            writer.write(f"clip{index}", encode_lossless(clip, 8), scene.caption(), {})


def generate(checkpoint: Path, output: Path, *options: str) -> int:
    """`lightning generate` of one prompt; the exit code."""
    named = ["--checkpoint", str(checkpoint), "--output", str(output), "--device", "cpu"]
    return cli.main(["generate", *named, "--prompt", "a dog", *options])


def pictures(folder: Path) -> np.ndarray:
    """The frames in a folder `[T, H, W, 3]`."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])
