"""A small 3-D convolution network that reads a world's words: the features of shapes-FVD.

Published feature networks look for the things of the real world at 224 pixels. This one is trained
on worlds alone (`train_classifier`), and its held-out accuracy stands beside every number it gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightning_artv.errors import CorruptWeightsError, MissingWeightsError, UserError
from lightning_artv.networks.pretrained import sha256_of
from lightning_artv.synthetic.drawing import COLORS, DIRECTIONS, SHAPES
from lightning_artv.synthetic.worlds import PANS, SPEEDS, TEXTURES

FORMAT = 1
FEATURES = 32
WORDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": SHAPES,
    "direction": tuple(DIRECTIONS),
    "speed": tuple(SPEEDS),
    "pan": tuple(PANS),
    "texture": TEXTURES,
}
"""A head each; the classes are the words of `World`."""

BRIGHTNESS = 3.0
_WIDTHS = (16, 24, 32, 48)
_ATTENTIONS = 4
_AT_ONCE = 64


class WorldClassifier(nn.Module):
    """Uint8 videos `[B, T, 3, H, W]` of worlds -> features and logits.

    Pairs of frames are looked at before motion is: forms are found sooner where time is not mixed
    in. Each of four attentions averages over the places and times that it looks at.

    Args:
        brightness: gain of brightness beside colours; textures are fainter than shapes.
    """

    def __init__(self, brightness: float = BRIGHTNESS) -> None:
        super().__init__()
        self.brightness = brightness
        first, second, third, last = _WIDTHS
        self.body = nn.Sequential(
            _Block(4, first, kernel=2, stride=(2, 2, 2)),
            _Block(first, second, kernel=1, stride=(1, 1, 1)),
            _Block(second, third, kernel=3, stride=(2, 2, 2)),
            _Block(third, last, kernel=3, stride=(1, 2, 2)),
        )
        self.attention = nn.Conv3d(last, _ATTENTIONS, 1)
        self.features_of = nn.Linear(_ATTENTIONS * last, FEATURES)
        self.heads = nn.ModuleDict({n: nn.Linear(FEATURES, len(w)) for n, w in WORDS.items()})

    def features(self, videos: Tensor) -> Tensor:
        """The last layer before the heads, `[B, FEATURES]`, not below 0."""
        maps = self.body(_normalised(videos, self.brightness))
        attention = self.attention(maps).flatten(2).softmax(dim=-1)
        looks = torch.einsum("bkn,bcn->bkc", attention, maps.flatten(2))
        return F.relu(self.features_of(looks.flatten(1)))

    def logits(self, features: Tensor) -> dict[str, Tensor]:
        """Name of `WORDS` -> `[B, classes]`."""
        return {name: head(features) for name, head in self.heads.items()}


class _Block(nn.Module):
    """A convolution of 3x3 pixels on the torus and `kernel` frames, norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: tuple[int, int, int]
    ) -> None:
        super().__init__()
        size, padding = (kernel, 3, 3), (kernel // 2 if kernel % 2 else 0, 0, 0)
        self.conv = nn.Conv3d(inputs, outputs, size, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for axis in (-2, -1):  # several times faster than padding_mode="circular"
            end = x.shape[axis] - 1
            x = torch.cat([x.narrow(axis, end, 1), x, x.narrow(axis, 0, 1)], dim=axis)
        return F.relu(self.norm(self.conv(x)))


def _normalised(videos: Tensor, brightness: float) -> Tensor:
    """Brightness, two colour differences and colourfulness, `[B, 4, T, H, W]`, about 1 in size.

    Colourfulness shows the silhouettes of all colours alike.
    """
    colors = videos.float() / 255
    red, grey, blue = colors[:, :, 0], colors.mean(dim=2), colors[:, :, 2]
    colorful = 2 * (colors.amax(dim=2) - colors.amin(dim=2))
    mixed = torch.stack(
        [brightness * (2 * grey - 1), 4 * (red - grey), 4 * (blue - grey), colorful], dim=1
    )
    return mixed.contiguous(memory_format=torch.channels_last_3d)  # faster on CPUs


@dataclass(frozen=True, eq=False)
class Looks:
    """What the classifier sees in N videos.

    Attributes:
        features: float32 `[N, FEATURES]`.
        probabilities: `[N, 24]`, the joint of colour and direction as the product of the two
            heads' softmaxes: what the Inception Score is of.
        words: name of `WORDS` -> the most probable class, int64 `[N]`.
    """

    features: Tensor
    probabilities: Tensor
    words: dict[str, Tensor]


@torch.no_grad()
def look(network: WorldClassifier, videos: Tensor) -> Looks:
    """Run uint8 videos `[N, T, 3, H, W]` through a network in evaluation mode; results on the CPU.

    Raises:
        ValueError: not uint8 videos.
    """
    if videos.dtype != torch.uint8 or videos.dim() != 5 or videos.shape[2] != 3:
        raise ValueError(
            f"Videos must be uint8 [N, T, 3, H, W], got {videos.dtype} {tuple(videos.shape)}."
        )
    device = next(network.parameters()).device
    features = torch.cat([network.features(part.to(device)) for part in videos.split(_AT_ONCE)])
    logits = {name: values.cpu() for name, values in network.logits(features).items()}
    color, direction = (logits[name].softmax(dim=1) for name in ("color", "direction"))
    joint = torch.einsum("nc,nd->ncd", color, direction).flatten(1)
    return Looks(features.cpu(), joint, {name: v.argmax(dim=1) for name, v in logits.items()})


@dataclass(frozen=True)
class Classifier:
    """A trained network and what is known of it.

    Attributes:
        network: classifier in evaluation mode.
        size: height and width, and `frames`, of the videos it was trained on.
        sha256: digest of its file.
        accuracy: name of `WORDS` -> share of held-out worlds that it reads rightly.
    """

    network: WorldClassifier
    size: int
    frames: int
    sha256: str
    accuracy: Mapping[str, float]

    def check_size(self, size: int) -> None:
        """Raises:
        UserError: it reads videos of another size.
        """
        if size != self.size:
            raise UserError(
                f"The classifier reads videos of {self.size}x{self.size} pixels and these have "
                f"{size}x{size}: train another with `shapes-classifier --size {size}`."
            )


def about_path(path: Path) -> Path:
    """The json beside a classifier's file: settings, digest, accuracy."""
    return path.with_suffix(".json")


def load_classifier(path: str | Path, device: torch.device | str = "cpu") -> Classifier:
    """Read what `train_classifier.train` wrote.

    Raises:
        MissingWeightsError: no such file, or none beside it that describes it.
        CorruptWeightsError: another file than the one that was described.
    """
    path = Path(path)
    about = read_about(path)
    if about is None:
        raise MissingWeightsError(
            f"There is no classifier '{path}' with its '{about_path(path).name}': make them with "
            f"`python -m evaluation shapes-classifier --out {path}`."
        )
    if sha256_of(path) != about["sha256"]:
        raise CorruptWeightsError(
            f"'{path}' is not the file that '{about_path(path).name}' describes: delete both and "
            "make them again."
        )
    settings = about["settings"]
    network = WorldClassifier(settings["brightness"])
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise CorruptWeightsError(
            f"'{path}' does not hold this version's classifier: delete it and make it again."
        ) from error
    return Classifier(
        network.to(device).eval(),
        settings["size"],
        settings["frames"],
        about["sha256"],
        about["accuracy"],
    )


def read_about(path: Path) -> dict[str, Any] | None:
    """The json beside a classifier's file, or None where either is missing.

    Raises:
        CorruptWeightsError: it is not such a json.
    """
    if not path.is_file() or not about_path(path).is_file():
        return None
    try:
        about = json.loads(about_path(path).read_text(encoding="utf-8"))
        known = about["format"] == FORMAT and {"settings", "sha256", "accuracy"} <= about.keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptWeightsError(
            f"'{about_path(path)}' is damaged: delete it and make the classifier again."
        ) from error
    if not known:
        raise CorruptWeightsError(
            f"'{about_path(path)}' is of another version: delete it and make the classifier again."
        )
    return dict(about)
