"""CLIPSIM: how well frames agree with the caption (Wu et al. 2021, GODIVA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evaluation.metrics.base import PerVideoMetric, check_videos

if TYPE_CHECKING:
    from lightning_artv.networks.clip import CLIP  # brings transformers

FRAMES_AT_ONCE = 64


class CLIPSim(PerVideoMetric):
    """Mean over videos of the mean over frames of the cosine of frame and caption, in [-1, 1].

    A video with several captions counts with the mean over them. torchmetrics' `CLIPScore` is 100
    times this, and 0 where this is negative.

    Args:
        clip: the model, ViT-B/32 for the field's CLIPSIM.
    """

    higher_is_better = True

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip

    def update(self, videos: Tensor, captions: Sequence[str | Sequence[str]]) -> None:
        """Add uint8 videos `[B, T, 3, H, W]` with a caption, or a list of captions, each.

        Raises:
            ValueError: not one entry per video, or an empty list.
        """
        check_videos(videos)
        lists = [[entry] if isinstance(entry, str) else list(entry) for entry in captions]
        if len(lists) != len(videos) or not all(lists):
            raise ValueError(
                f"CLIPSim needs a caption or a list of captions for each of {len(videos)} videos, "
                f"got {len(lists)} entries of lengths {[len(entry) for entry in lists]}."
            )
        texts = self.clip.texts([text for entry in lists for text in entry]).double()
        per_video = zip(videos, texts.split([len(entry) for entry in lists]), strict=True)
        self._extend(torch.stack([self._similarity(video, text) for video, text in per_video]))

    def _similarity(self, video: Tensor, texts: Tensor) -> Tensor:
        """The mean cosine of all frames `[T, 3, H, W]` with all texts `[K, D]`."""
        frames = torch.cat([self.clip.images(chunk) for chunk in video.split(FRAMES_AT_ONCE)])
        return (frames.double() @ texts.T).mean()
