"""CLIPSim against torchmetrics' CLIPScore, on a tiny CLIP in the real format."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.multimodal.clip_score import CLIPScore
from transformers import CLIPModel, CLIPProcessor

from evaluation.metrics import CLIPSim
from lightning_artv.networks.clip import CLIP

torch.set_num_threads(1)
CAPTIONS = ["a red ball moves left", "a dog", "two people dance on a beach at sunset"]


@pytest.fixture(scope="module")
def folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained CLIP sees hardly a difference between inputs; larger weights make it see some.

    The sign makes frames and captions agree: CLIPScore shows 0 for all that is negative.
    """
    folder = tmp_path_factory.mktemp("metrics") / "clip"
    shutil.copytree(clip_folder, folder)
    model = CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)
        model.visual_projection.weight.neg_()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path) -> CLIP:
    return CLIP(str(folder))


@pytest.fixture(scope="module")
def videos() -> Tensor:
    """Three videos of four frames, each of its own colours."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 4, 3, 6, 8, generator=generator)
    tint = torch.rand(3, 1, 3, 1, 1, generator=generator)
    coarse = (255 * (0.5 * noise + 0.5 * tint)).flatten(0, 1)
    large = nn.functional.interpolate(coarse, size=(36, 48), mode="bilinear")
    return large.round().to(torch.uint8).unflatten(0, (3, 4))


class Pooled(nn.Module):
    """What torchmetrics 1.9 expects of a CLIP: tensors, where transformers 5 returns objects."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def get_image_features(self, *inputs: Tensor) -> Tensor:
        found = self.model.get_image_features(*inputs)
        return found if isinstance(found, Tensor) else found.pooler_output

    def get_text_features(self, *inputs: Tensor) -> Tensor:
        found = self.model.get_text_features(*inputs)
        return found if isinstance(found, Tensor) else found.pooler_output


@pytest.fixture(scope="module")
def torchmetrics_score(folder: Path) -> CLIPScore:
    model = Pooled(CLIPModel.from_pretrained(folder).eval())
    return CLIPScore(lambda: (model, CLIPProcessor.from_pretrained(folder)))


def one_pair(score: CLIPScore, video: Tensor, caption: str) -> float:
    score.reset()
    score.update(list(video), [caption] * len(video))
    return float(score.compute()) / 100


def test_clipsim_is_torchmetrics_clip_score(clip, videos, torchmetrics_score):
    """torchmetrics pools the frames of all videos, which here have equally many."""
    ours = CLIPSim(clip)
    torchmetrics_score.reset()
    similarities = []
    for video, caption in zip(videos, CAPTIONS, strict=True):
        ours.update(video[None], [caption])
        similarities.append(one_pair(torchmetrics_score, video, caption))
    score = ours.result()
    # where CLIPScore applies: it shows 0 for what is negative
    assert min(similarities) > 0 and max(similarities) - min(similarities) > 1e-3
    assert score.value == pytest.approx(sum(similarities) / 3, abs=1e-6)
    frames = [frame for video in videos for frame in video]
    torchmetrics_score.reset()
    torchmetrics_score.update(frames, [caption for caption in CAPTIONS for _ in range(4)])
    assert score.value == pytest.approx(float(torchmetrics_score.compute()) / 100, abs=1e-6)
    assert score.sd == pytest.approx(float(torch.tensor(similarities).std()), abs=1e-6)
    assert score.samples == 3


def test_a_list_of_captions_counts_with_its_mean(clip, videos, torchmetrics_score):
    ours = CLIPSim(clip)
    ours.update(videos[1:], [CAPTIONS, CAPTIONS[1]])
    first = [one_pair(torchmetrics_score, videos[1], caption) for caption in CAPTIONS]
    second = one_pair(torchmetrics_score, videos[2], CAPTIONS[1])
    assert min(*first, second) > 0 and max(first) - min(first) > 1e-3
    assert ours.result().value == pytest.approx((sum(first) / 3 + second) / 2, abs=1e-6)


def test_batches_and_long_videos_change_nothing(clip, videos, monkeypatch):
    whole, parts = CLIPSim(clip), CLIPSim(clip)
    whole.update(videos, CAPTIONS)
    monkeypatch.setattr("evaluation.metrics.clipsim.FRAMES_AT_ONCE", 3)
    for video, caption in zip(videos, CAPTIONS, strict=True):
        parts.update(video[None], [caption])
    assert float(parts.compute()) == pytest.approx(float(whole.compute()), abs=1e-6)
    assert parts.result().samples == 3


def test_a_negative_similarity_stays_negative(videos):
    class Opposite(nn.Module):
        def images(self, frames: Tensor) -> Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(frames), 2)

        def texts(self, texts: list[str]) -> Tensor:
            return torch.tensor([[-0.6, 0.8]]).expand(len(texts), 2)

    metric = CLIPSim(Opposite())
    metric.update(videos, CAPTIONS)
    assert float(metric.compute()) == pytest.approx(-0.6, abs=1e-6)


@pytest.mark.parametrize("captions", [CAPTIONS[:2], [*CAPTIONS[:2], []], []])
def test_captions_must_fit_the_videos(clip, videos, captions):
    with pytest.raises(ValueError, match="each of 3 videos"):
        CLIPSim(clip).update(videos, captions)
