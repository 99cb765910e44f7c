"""Train the worlds' classifier: two minutes on one core, the same weights for the same settings."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from evaluation.manifest import to_json
from evaluation.shapes.classifier import (
    BRIGHTNESS,
    FORMAT,
    WORDS,
    Classifier,
    WorldClassifier,
    about_path,
    load_classifier,
    look,
    read_about,
)
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically
from lightning_artv.progress import Progress
from lightning_artv.synthetic.drawing import Split
from lightning_artv.synthetic.worlds import World, world_at

SUFFIX = ".safetensors"
_TRAIN_SEED, _HELDOUT_SEED = 7, 3  # of worlds: not the benchmark's
_AT_ONCE = 100


@dataclass(frozen=True)
class Training:
    """Settings of the training.

    Attributes:
        size: height and width of the videos in pixels, a multiple of 32.
        frames: number of frames of a video.
        worlds: number of worlds of the training split, kept in memory.
        heldout: worlds of the held-out split that the accuracy is of.
        steps, batch_size, lr: AdamW, whose rate rises to `lr` and falls to 0.
        brightness: see `WorldClassifier`.
        seed: seed of weights, batches and shifts.
    """

    size: int = 32
    frames: int = 16
    worlds: int = 6000
    heldout: int = 1000
    steps: int = 1200
    batch_size: int = 32
    lr: float = 6e-3
    brightness: float = BRIGHTNESS
    seed: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "seed" and value <= 0:
                raise UserError(f"The classifier's {field.name} must be above 0, got {value}.")


def train(path: str | Path, settings: Training | None = None, device: str = "cpu") -> Classifier:
    """The classifier in that file; trained first, unless it is there with these settings.

    The json beside it says the settings, the file's sha256, the accuracy by word on held-out worlds
    and the seconds. It is written first, so that a weight file is never without it.

    Raises:
        UserError: another name than `*.safetensors`, impossible settings, a place that cannot be
            written.
    """
    path, settings = Path(path), settings or Training()
    if path.suffix != SUFFIX:
        raise UserError(f"A classifier's file ends in {SUFFIX}, unlike '{path}'.")
    about = read_about(path)
    if about is not None and about["settings"] == dataclasses.asdict(settings):
        return load_classifier(path, device)
    began = time.monotonic()
    network = _trained(settings, torch.device(device))
    accuracy = _accuracy(network, settings)
    weights = save({k: v.cpu().contiguous() for k, v in network.state_dict().items()})
    content = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "accuracy": accuracy,
        "seconds": round(time.monotonic() - began, 1),
    }
    path.unlink(missing_ok=True)
    write_atomically(about_path(path), to_json(content))
    write_atomically(path, weights)
    return load_classifier(path, device)


def videos_of(
    count: int, seed: int, split: Split, size: int, frames: int
) -> tuple[Tensor, list[World]]:
    """The first worlds of a split, uint8 `[N, T, 3, H, W]`, with progress on stderr."""
    progress = Progress(count, "world")
    worlds, videos = [], np.empty((count, frames, 3, size, size), np.uint8)
    for i in range(count):
        worlds.append(world_at(i, seed, split, size))
        videos[i] = worlds[i].video(frames).transpose(0, 3, 1, 2)
        progress(1)
    progress.finish()
    return torch.from_numpy(videos), worlds


def _trained(settings: Training, device: torch.device) -> WorldClassifier:
    """All heads together, on videos that are shifted at random on their torus."""
    videos, worlds = videos_of(
        settings.worlds, _TRAIN_SEED, "train", settings.size, settings.frames
    )
    classes = _classes(worlds)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = WorldClassifier(settings.brightness)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.steps
    )
    progress = Progress(settings.steps, "step")
    for _ in range(settings.steps):
        rows = torch.randint(len(videos), (settings.batch_size,), generator=generator)
        shift = torch.randint(settings.size, (2,), generator=generator).tolist()
        batch = videos[rows].roll(shift, dims=(-2, -1)).to(device)
        logits = network.logits(network.features(batch))
        wanted = classes[rows].to(device)
        losses = [F.cross_entropy(logits[name], wanted[:, i]) for i, name in enumerate(WORDS)]
        loss = torch.stack(losses).sum() + losses[1]  # forms are the hardest to find
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(1, f", loss {float(loss.detach()):.2f}")
    progress.finish()
    return network.eval()


def _accuracy(network: WorldClassifier, settings: Training) -> dict[str, float]:
    """Word -> share of held-out worlds that are read rightly."""
    videos, worlds = videos_of(
        settings.heldout, _HELDOUT_SEED, "heldout", settings.size, settings.frames
    )
    words, classes = look(network, videos).words, _classes(worlds)
    return {
        name: float((words[name] == classes[:, i]).double().mean()) for i, name in enumerate(WORDS)
    }


def _classes(worlds: list[World]) -> Tensor:
    """`[N, WORDS]`, the index of each word."""
    return torch.tensor(
        [[words.index(getattr(w, n)) for n, words in WORDS.items()] for w in worlds]
    )
