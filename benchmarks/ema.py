"""One update of the moving average: ours against Lightning's, on Stable Diffusion's tensors.

`python -m benchmarks.ema`, on one core; 686 tensors, as many as Stable Diffusion 2.1's U-Net has,
in its layout at a 40th, a 20th and a 10th of its widths. Both callbacks get the same weights and
the same hook, in turn; the best of several rounds each. The larger the tensors, the more of both
times is reading memory, of which ours does a third. The same interpolation of two flat arrays of as
many numbers is what memory allows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from benchmarks.documents import Row, print_rows
from lightning_artv.training.ema import EMA
from lightning_artv.training.module import VideoModule

DECAY, ROUNDS = 0.9999, 30


class Weights(nn.Module):
    """A system of which only the weights matter: SD 2.1's U-Net with a first width of `width`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            attention_head_dim=[1, 2, 4, 4],
            cross_attention_dim=1024 * width // 320,
            norm_num_groups=8,
            use_linear_projection=True,
        )

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())


def update(callback: Callback, module: VideoModule, step: int) -> float:
    """Seconds of CPU time of the callback's work at the end of optimiser step `step`."""
    trainer = SimpleNamespace(global_step=step)
    start = time.process_time()
    callback.on_train_batch_end(trainer, module, None, None, step)  # type: ignore[arg-type]
    return time.process_time() - start


def measure(width: int, rounds: int) -> Row:
    """One row."""
    torch.manual_seed(0)
    module = VideoModule(Weights(width))  # type: ignore[arg-type]
    weights = list(module.parameters())
    trainer = SimpleNamespace(global_step=0)
    ours, theirs = EMA(DECAY), EMAWeightAveraging(decay=DECAY)
    ours.on_train_start(trainer, module)  # type: ignore[arg-type]
    theirs.setup(trainer, module, "fit")  # type: ignore[arg-type]
    times: tuple[list[float], list[float]] = ([], [])
    for step in range(1, rounds + 1):
        for callback, seconds in zip((ours, theirs), times, strict=True):
            seconds.append(update(callback, module, step))
        with torch.no_grad():
            torch._foreach_add_(weights, 0.01)
    assert theirs._average_model is not None
    average = theirs._average_model.module.system.trainable_parameters()
    for name, weight in ours.weights().items():  # they do the same
        torch.testing.assert_close(weight, average[name], atol=1e-5, rtol=0)
    mine, others = (1000 * min(seconds[1:]) for seconds in times)  # Lightning's first is a copy
    numbers = sum(weight.numel() for weight in weights) / 1e6
    bound = 1000 * flat(sum(weight.numel() for weight in weights), rounds)
    return (
        f"EMA of {len(weights)} tensors, {numbers:.2f} M numbers: ms, Lightning's, flat; ratios",
        f"{mine:.2f}, {others:.2f}, {bound:.2f}; {others / mine:.1f}, {mine / bound:.2f}",
    )


def flat(numbers: int, rounds: int) -> float:
    """Seconds in which one array of numbers moves towards another: two reads and a write."""
    average, live = torch.zeros(numbers), torch.ones(numbers)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        average.lerp_(live, 1 - DECAY)
        times.append(time.process_time() - start)
    return min(times)


def rows() -> Iterator[Row]:
    """Three sizes."""
    warnings.filterwarnings("ignore", "You're using the WeightAveraging")
    for width in (8, 16, 32):
        yield measure(width, ROUNDS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print_rows(rows())
