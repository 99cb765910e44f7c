"""A tiny VideoSystem and its batches, so that training is tested without the real networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from frame_batch import frame_batch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_artv.batch import VideoBatch
from lightning_artv.diffusion.noise import Generators, randint, randn
from lightning_artv.figures import Figure, Histogram, Picture, Scalar
from lightning_artv.systems.artv.settings import ARTVSampling
from lightning_artv.systems.artv.windows import NextFrame, in_roles
from lightning_artv.systems.base import (
    DenoisingStep,
    LossOutput,
    Observer,
    Recorder,
    Request,
    VideoSystem,
)


class StepCounter(Recorder):
    """Counts what it sees, and shows it in every way."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, step: DenoisingStep) -> None:
        self.seen.append(float(step.step))

    def figures(self) -> dict[str, Figure]:
        return {
            "stub/steps": Scalar(len(self.seen)),
            "stub/order": Histogram(np.array(self.seen, dtype=np.float32)),
            "stub/picture": Picture(np.full((2, 3, 3), 7, dtype=np.uint8)),
        }


class StubSystem(VideoSystem):
    """Predicts 4 numbers of noise with a small network; a frozen layer stands for a VAE."""

    windows = NextFrame
    continues = True

    def __init__(self, width: int = 4, poison: str = "") -> None:
        super().__init__()
        self.vae = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
        self.net = nn.Sequential(nn.Linear(4, width), nn.LayerNorm(width), nn.Linear(width, 4))
        self.poison = poison
        self.seen: list[Tensor] = []

    @property
    def sampling(self) -> ARTVSampling:
        return ARTVSampling(steps=3)

    @property
    def size_multiple(self) -> int:
        return 2

    def loss(self, batch: VideoBatch, generators: Generators) -> LossOutput:
        timesteps = randint(generators, 0, 1000, self.net[0].weight.device)
        noise = randn(generators, (4,), self.net[0].weight.device)
        self.seen.append(noise)
        x = in_roles(batch).target.float().mean(dim=(1, 2, 3), keepdim=False)[:, None] / 255 + noise
        error = (self.net(x) - noise).float().square().mean(dim=1)
        bad = torch.tensor([key == self.poison for key in batch.keys])
        if bool(bad.any()):
            error = error.masked_fill(bad, torch.nan)
        quarters = {"quarter": torch.full((len(batch),), 0.25)}
        return LossOutput(error.mean(), error.detach(), timesteps / 1000, quarters)

    def recorder(self) -> StepCounter:
        return StepCounter()

    def frames(self, request: Request, observer: Observer | None = None) -> Iterator[Tensor]:
        count = sum(segment.frames for segment in request.segments)
        batch, size, first_frame = len(request.generators), request.size, request.first_frame
        level = randn(request.generators, (1, 1, 1)).abs().clamp(max=1) * 200
        for frame in range(count):
            if frame == 0 and first_frame is not None:
                yield first_frame
                continue
            for step in range(request.settings.steps):
                if observer is not None:
                    t = 999 - 300 * step
                    observer(DenoisingStep(frame, step, t, torch.zeros(batch, 3, *size)))
            yield (level + frame).expand(batch, 3, *size).to(torch.uint8)


def make_batch(start: int = 0, count: int = 2, size: int = 4) -> VideoBatch:
    """`count` samples whose pixels and keys depend on `start` alone."""
    generator = torch.Generator().manual_seed(start)
    pixels = torch.randint(0, 256, (count, 4, 3, size, size), generator=generator).to(torch.uint8)
    names = range(start, start + count)
    return frame_batch(pixels, [f"caption {i}" for i in names], [f"sample{i}" for i in names])


class Batches(Dataset[VideoBatch]):
    """Ready batches, numbered."""

    def __init__(self, count: int, size: int = 4) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> VideoBatch:
        return make_batch(2 * index, size=self.size)


def loader(count: int, size: int = 4) -> DataLoader[VideoBatch]:
    """`count` batches of two samples."""
    return DataLoader(Batches(count, size), batch_size=None, num_workers=0)


class StubData(LightningDataModule):
    """Stands for VideoDataModule on the command line."""

    def __init__(
        self, size: tuple[int, int] = (4, 4), fps: float | None = 8, batches: int = 3
    ) -> None:
        super().__init__()
        self.size, self.fps, self.batches = size, fps, batches

    def train_dataloader(self) -> DataLoader[VideoBatch]:
        return loader(self.batches, self.size[0])

    def val_dataloader(self) -> DataLoader[VideoBatch]:
        return loader(1, self.size[0])

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader
