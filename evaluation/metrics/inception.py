"""Inception Score of videos (Saito et al. 2020, TGANv2): C3D trained on UCF-101."""

from __future__ import annotations

from torch import Tensor

from evaluation.features.base import Features
from evaluation.metrics.base import Score, ScoredMetric, check_videos
from evaluation.statistics import inception_score, inception_score_of_gaussian
from evaluation.statistics.inception import AVERAGED, with_entropy


class VideoInceptionScore(ScoredMetric):
    """Inception Score of generated videos; their order matters where the division is `once`.

    With one split the memory does not grow with N. With more, every video's probabilities are kept
    (404 bytes for 101 classes), because splits that do not depend on the order can be drawn only
    when all are known.

    Args:
        features: a network that returns probabilities, C3D's softmax.
        splits: part of the protocol; scores of different splits (and N) do not compare.
        seed: seed of the divisions into splits.
        division: `averaged` over divisions that forget the order of the videos, or `once`, as
            torch-fidelity divides them (see `inception_score`).
    """

    higher_is_better = True

    def __init__(
        self, features: Features, splits: int = 1, seed: int = 0, division: str = AVERAGED
    ) -> None:
        super().__init__()
        self.features = features
        self.splits = splits
        self.seed = seed
        self.division = division
        if splits == 1:
            self._add_gaussian("probabilities", features.size + 1)
        else:
            self._add_rows("probabilities", features.size)

    def update(self, videos: Tensor) -> None:
        """Add generated uint8 videos `[B, T, 3, H, W]`.

        Raises:
            UserError: probabilities that are not finite, or a number of frames that does not fit.
        """
        check_videos(videos)
        probabilities = self.features(videos).to(self.device)
        rows = with_entropy(probabilities)
        if self.splits == 1:
            self._extend_gaussian("probabilities", rows)
        else:
            self._extend_rows("probabilities", probabilities)

    def _score(self) -> Score:
        if self.splits == 1:
            statistics = self._gaussian("probabilities")
            value, error = inception_score_of_gaussian(statistics)
            return Score(float(value), statistics.count, standard_error=float(error))
        rows = self._rows("probabilities")
        scores = inception_score(rows, self.splits, self.seed, self.division)
        return Score(float(scores.mean()), len(rows), sd=float(scores.std(correction=0)))
