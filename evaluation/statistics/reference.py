"""The real side of a comparison, kept in a file: real videos pass through a network once only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from evaluation.statistics.gaussian import Gaussian
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import atomic_path, writing_to

NAMES = {"count", "mean", "scatter"}


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of a set of videos.

    Attributes:
        gaussian: what a Fréchet distance needs.
        features: float32 `[n, d]`, what FVD∞ and the kernel distance need, or None.
        about: the protocol's hash, the features' name and whatever else must agree; strings.
    """

    gaussian: Gaussian
    features: Tensor | None = None
    about: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            UserError: the place cannot be written.
        """
        tensors = {
            "count": torch.tensor(self.gaussian.count),
            "mean": self.gaussian.mean,
            "scatter": self.gaussian.scatter,
        }
        if self.features is not None:
            tensors["features"] = self.features
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with atomic_path(path) as temporary, writing_to(path):
            save_file(whole, temporary, metadata=dict(self.about))

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read what `save` wrote, onto the CPU.

        Raises:
            UserError: no such file, a damaged one, or another kind of file.
        """
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"The reference statistics {path} cannot be read ({error}); delete the file and "
                "score again."
            ) from error
        if not _fit(tensors):
            raise UserError(
                f"{path} holds no reference statistics; delete the file and score again."
            )
        gaussian = Gaussian(int(tensors["count"]), tensors["mean"], tensors["scatter"])
        return cls(gaussian, tensors.get("features"), about)


def _fit(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the statistics of one set of vectors."""
    if not set(tensors) >= NAMES or set(tensors) > NAMES | {"features"}:
        return False
    count, mean, scatter = (tensors[name] for name in ("count", "mean", "scatter"))
    if count.shape or mean.dim() != 1 or scatter.shape != (len(mean), len(mean)):
        return False
    if mean.dtype != torch.float64 or scatter.dtype != torch.float64:
        return False
    features = tensors.get("features")
    if features is not None and features.shape != (int(count), len(mean)):
        return False
    return int(count) >= 0 and all(bool(t.isfinite().all()) for t in tensors.values())
