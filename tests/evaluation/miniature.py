"""Small stand-ins in the real layouts: a UCF-101 tree of avi files, a checkpoint that generates."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import torch

from lightning_artv.checkpoints.file import embedded_config
from lightning_artv.checkpoints.instantiate import instantiate_system

SYSTEM = {
    "class_path": "lightning_artv.systems.artv.ARTV",
    "init_args": {
        "unet": {
            "class_path": "lightning_artv.networks.unet.SmallUNet",
            "init_args": {"channels": [16, 16], "text_width": 16, "norm_groups": 8},
        },
        "autoencoder": {
            "class_path": "lightning_artv.networks.autoencoder.PixelUnshuffleAutoencoder",
            "init_args": {"factor": 2},
        },
        "text_encoder": {
            "class_path": "lightning_artv.networks.text_encoder.ByteTextEncoder",
            "init_args": {"width": 16},
        },
        "sampling": {
            "steps": 2,
            "guidance": {"references": 0.0, "anchor": 0.0, "text": 0.0},
            "noise_level": 0,
            "clip_latents": 1.0,
        },
    },
}


def write_checkpoint(path: Path, size: int = 16, seed: int = 0) -> Path:
    """A checkpoint of an untrained tiny ART•V whose every parameter is random."""
    torch.manual_seed(seed)
    system = instantiate_system(SYSTEM)
    weights = {n: p.detach().clone() for n, p in system.trainable_parameters().items()}
    for weight in weights.values():
        if weight.abs().max() == 0:
            torch.nn.init.normal_(weight, std=0.2)
    config = {"model": {"system": SYSTEM}, "data": {"size": size, "fps": 8}}
    checkpoint = {
        "state_dict": {f"system.{name}": weight for name, weight in weights.items()},
        "ema": {"updates": 1, "weights": weights},
        "lightning_artv": embedded_config(config),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def write_avi(path: Path, frames: int, seed: int, size: tuple[int, int] = (48, 64)) -> Path:
    """A moving gradient as UCF-101's codec and container hold it, 25 frames a second."""
    rng = np.random.default_rng(seed)
    base, speed = rng.integers(0, 200, 3), rng.integers(1, 8)
    across = np.arange(size[1])[None, :, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for t in range(frames):
            image = (base + across + speed * t + np.zeros((*size, 3))) % 256
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_lossless(path: Path, frames: np.ndarray) -> Path:
    """RGB frames `[T, H, W, 3]` that come back bit for bit."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_ucf101(
    root: Path,
    classes: tuple[str, ...] = ("Archery", "Biking", "YoYo"),
    videos: int = 4,
    frames: int = 20,
) -> Path:
    """UCF-101's tree and lists: `videos` a class, every fourth group held out for testing."""
    train: list[str] = []
    test: list[str] = []
    for number, name in enumerate(classes):
        for k in range(videos):
            stem = "HandStandPushups" if name == "HandstandPushups" else name
            file = f"{name}/v_{stem}_g{k + 1:02d}_c01.avi"
            write_avi(root / "UCF-101" / file, frames, seed=100 * number + k)
            (test if k % 4 == 3 else train).append(file)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    numbers = {name: i + 1 for i, name in enumerate(classes)}
    (lists / "classInd.txt").write_text("".join(f"{i} {n}\n" for n, i in numbers.items()))
    (lists / "trainlist01.txt").write_text(
        "".join(f"{file} {numbers[file.split('/')[0]]}\n" for file in train)
    )
    (lists / "testlist01.txt").write_text("".join(f"{file}\n" for file in test))
    return root
