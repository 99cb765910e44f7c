"""What all metrics share: states that keep their precision, and a number with its circumstances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from evaluation.statistics import Gaussian, merge_packed
from lightning_artv.errors import UserError


@dataclass(frozen=True)
class Score:
    """A number and what it takes to judge it.

    Attributes:
        value: the number.
        samples: how many videos (FID: frames) were scored.
        reference_samples: how many real ones they were compared with, if any.
        sd: standard deviation over the videos, or over the splits of an Inception Score.
        standard_error: standard deviation of `value` over repeated draws of the videos.
        notes: sentences that a reader of the number needs, such as a warning of bias.
    """

    value: float
    samples: int
    reference_samples: int | None = None
    sd: float | None = None
    standard_error: float | None = None
    notes: tuple[str, ...] = ()


class VideoMetric(Metric, ABC):
    """A metric whose states stay float64, whatever `.half()`, `.to(bfloat16)`, `set_dtype` ask.

    States live on the metric's device, videos are to be on the device of its network. Where a
    device has no float64 (Apple's MPS), move `metric.features` there and leave the metric.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self) -> None:
        super().__init__()
        self._row_sizes: dict[str, int] = {}

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add another metric's videos to this one's."""
        super().merge_state(incoming_state)
        self._computed = None  # torchmetrics would go on to return the number from before
        self._update_count += 1

    def _synced(self) -> Any:
        return self.sync_context(
            dist_sync_fn=self.dist_sync_fn,
            should_sync=self._to_sync,
            should_unsync=self._should_unsync,
        )

    def _add_gaussian(self, name: str, size: int) -> None:
        """A state of count, mean and scatter of vectors; its size does not grow with N."""
        self.add_state(name, Gaussian.empty(size).pack(), dist_reduce_fx=merge_packed)

    def _extend_gaussian(self, name: str, vectors: Tensor) -> None:
        state = getattr(self, name)
        new = Gaussian.of(vectors.to(state.device)).pack()
        setattr(self, name, merge_packed(torch.stack([state, new])))

    def _gaussian(self, name: str) -> Gaussian:
        return Gaussian.unpack(getattr(self, name))

    def _add_rows(self, name: str, size: int) -> None:
        """A state that keeps every vector, 4 bytes per number."""
        self._row_sizes[name] = size
        self.add_state(name, [], dist_reduce_fx="cat")

    def _extend_rows(self, name: str, rows: Tensor) -> None:
        getattr(self, name).append(rows.to(self.device, torch.float32))

    def _rows(self, name: str) -> Tensor:
        rows = getattr(self, name)
        if isinstance(rows, Tensor):  # as a reduction over ranks leaves it
            return rows
        return torch.cat([torch.zeros(0, self._row_sizes[name], device=self.device), *rows])

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # torchmetrics sends a vector for a rank without videos, where the others send matrices
        for name in self._row_sizes:
            setattr(self, name, [self._rows(name)])
        super()._sync_dist(*args, **kwargs)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ""
    ) -> VideoMetric:
        def only_move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(only_move, exclude_state)
        return self


class ScoredMetric(VideoMetric):
    """A metric that is one number."""

    @abstractmethod
    def _score(self) -> Score:
        """The result of the states as they are, which are those of all ranks."""

    def result(self) -> Score:
        """The number with its N, spread and notes, over all ranks.

        Raises:
            UserError: too few videos.
        """
        with self._synced():
            return self._score()

    def compute(self) -> Tensor:
        """The number alone, float64 scalar, over all ranks.

        Raises:
            UserError: too few videos.
        """
        return torch.tensor(self._score().value, dtype=torch.float64)


class PerVideoMetric(ScoredMetric):
    """The mean of one number per video; batches of any size weigh by their videos."""

    def __init__(self) -> None:
        super().__init__()
        self._add_gaussian("values", 1)

    def _extend(self, values: Tensor) -> None:
        """Add `[B]`, one number per video."""
        self._extend_gaussian("values", values[:, None])

    def _score(self) -> Score:
        values = self._gaussian("values")
        if not values.count:
            raise UserError(f"{type(self).__name__} was given no videos; add some.")
        sd = float(values.covariance().sqrt()) if values.count > 1 else None
        error = None if sd is None else sd / values.count**0.5
        return Score(float(values.mean), values.count, sd=sd, standard_error=error)


def check_videos(videos: Tensor, frames: int = 1) -> None:
    """Expect uint8 videos `[B, T, 3, H, W]`, B not 0, of at least so many frames.

    Raises:
        ValueError: another shape or type.
        UserError: fewer frames.
    """
    right_shape = videos.dim() == 5 and videos.shape[2] == 3 and videos.numel() > 0
    if videos.dtype != torch.uint8 or not right_shape:
        raise ValueError(
            f"Videos must be uint8 [B, T, 3, H, W], got {videos.dtype} {tuple(videos.shape)}."
        )
    if videos.shape[1] < frames:
        raise UserError(
            f"This metric needs videos of at least {frames} frames, got {videos.shape[1]}; take "
            "longer videos."
        )
