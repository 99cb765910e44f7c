"""shapes-FVD, shapes-KVD, shapes-IS: the field's numbers, seen through the worlds' classifier."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from evaluation.shapes.classifier import Classifier, look
from evaluation.shapes.train_classifier import videos_of
from evaluation.statistics import (
    Gaussian,
    Reference,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from lightning_artv.errors import UserError

REAL_VIDEOS = 512
REAL_SEED = 2  # of worlds: not the benchmark's


def distances(videos: Tensor, classifier: Classifier, real: Reference) -> dict[str, float]:
    """`FVD`, `KVD` and `IS` (in one split) of generated videos.

    The Inception Score is of the joint distribution of colour and direction, 24 classes, of which
    each video's is the product of the two heads' softmaxes.

    Args:
        videos: uint8 `[N, T, 3, H, W]`, N at least 2, of the classifier's size and length.
        classifier: whose features.
        real: what `real_reference` gave.
    """
    looks = look(classifier.network, videos)
    assert real.features is not None
    return {
        "FVD": float(frechet_distance(real.gaussian, Gaussian.of(looks.features))),
        "KVD": kernel_distance(real.features, looks.features).value,
        "IS": float(inception_score(looks.probabilities, splits=1)),
    }


def real_reference(classifier: Classifier, beside: Path, count: int = REAL_VIDEOS) -> Reference:
    """The features of `count` held-out worlds, kept in a file beside the classifier's.

    A file of another classifier or count, or a damaged one, is made again.

    Raises:
        UserError: the file cannot be written.
    """
    path = beside.with_name(f"{beside.stem}.real.safetensors")
    about = {
        "classifier": classifier.sha256,
        "videos": str(count),
        "seed": str(REAL_SEED),
        "torch": torch.__version__,
    }
    try:
        known = Reference.load(path)
    except UserError:
        known = None
    if known is not None and known.about == about and known.features is not None:
        return known
    videos, _ = videos_of(count, REAL_SEED, "heldout", classifier.size, classifier.frames)
    features = look(classifier.network, videos).features
    reference = Reference(Gaussian.of(features), features, about)
    reference.save(path)
    return reference
