"""Feature networks from the weight files that people use."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import torch
from torch import Tensor, nn

from evaluation.archives import is_torchscript, read_tensors
from evaluation.features import c3d, i3d, inception
from evaluation.features.base import Features
from evaluation.features.preprocessing import VideoPreprocessing
from evaluation.weights import locate
from lightning_artv.errors import CorruptWeightsError
from lightning_artv.networks.pretrained import sha256_of

if TYPE_CHECKING:
    from lightning_artv.networks.clip import CLIP

Kind = Literal["i3d", "c3d", "inception"]
FeaturesT = TypeVar("FeaturesT", bound=Features)

# kinetics_i3d_pytorch, which StyleGAN-V's archive was scripted from -> pytorch_i3d
_I3D_NAMES = (
    (r"^conv3d_0c_1x1\.", "logits."),
    (r"^conv3d_", "Conv3d_"),
    (r"^mixed_", "Mixed_"),
    (r"\.batch3d\.", ".bn."),
    (r"\.branch_0\.", ".b0."),
    (r"\.branch_([12])\.0\.", r".b\1a."),
    (r"\.branch_([123])\.1\.", r".b\1b."),
)


def load_i3d(
    path: str | Path | None = None,
    folder: str | Path | None = None,
    sha256: str | None = None,
    preprocessing: VideoPreprocessing | None = None,
    eps: float = 1e-3,
) -> i3d.I3D:
    """I3D from StyleGAN-V's TorchScript or a state dict in piergiaj's layout (TATS, VideoGPT).

    The archive is read as data, never run. It was scripted from `kinetics_i3d_pytorch`, whose names
    are translated; other names are taken in their order of definition and checked by shape. This
    could not be tried on the file itself.

    DeepMind's first release in that layout (`rgb_imagenet.pt`) loads too, but its weights are not
    those of the Fréchet Video Distance.

    Args:
        path: weight file; None looks for a known one in `folder`.
        folder: where downloaded weights are; None: `evaluation.weights.default_folder`.
        sha256: expected digest of `path`.
        preprocessing, eps: settings of the protocol, see `I3D`.

    Raises:
        MissingWeightsError: no file there.
        CorruptWeightsError: damaged, another digest, or not an I3D; checked before loading.
    """
    path = locate("i3d", path, folder, sha256)
    tensors = {_piergiaj_name(name): tensor for name, tensor in read_tensors(path).items()}
    with torch.device("meta"):
        names = i3d.I3D().network.state_dict().keys()
    if is_torchscript(path) and set(_layers(tensors)) != set(_layers(names)):
        tensors = _renamed_in_order(tensors, names)
    width = _width(tensors, "Conv3d_1a_7x7.conv3d.weight", (3, 7, 7, 7), i3d.STEM_WIDTH, path)
    return _filled(i3d.I3D(preprocessing, eps, width), tensors, path)


def load_c3d(
    path: str | Path | None = None,
    mean: str | Path | None = None,
    folder: str | Path | None = None,
    sha256: str | None = None,
) -> c3d.C3D:
    """C3D from TGANv2's npz (Chainer) or StyleGAN-V's TorchScript port, with TGANv2's mean clip.

    The port's names are not published: its layers are taken in their order of definition and
    checked by shape, which could not be tried on the file itself.

    Args:
        path: weight file; None looks for a known one in `folder`.
        mean: `mean2.npz`; None looks for it in `folder`.
        folder: where downloaded weights are; None: `evaluation.weights.default_folder`.
        sha256: expected digest of `path`.

    Raises:
        MissingWeightsError: no file there.
        CorruptWeightsError: damaged, another digest, or not a C3D; checked before loading.
    """
    path, mean = locate("c3d", path, folder, sha256), locate("c3d-mean", mean, folder)
    tensors = _c3d_layers(path)
    width = _width(tensors, "conv1a.weight", (3, 3, 3, 3), c3d.STEM_WIDTH, path)
    clip = read_tensors(mean).get("mean", torch.empty(0))
    if clip.numel() != math.prod(c3d.MEAN_SHAPE):
        raise CorruptWeightsError(
            f"{mean} holds no mean clip of shape {c3d.MEAN_SHAPE}: download mean2.npz again."
        )
    network = _filled(c3d.C3D(clip, width), tensors, path)
    network.digests[mean.name] = sha256_of(mean)
    return network


def load_inception(
    path: str | Path | None = None,
    folder: str | Path | None = None,
    sha256: str | None = None,
) -> inception.Inception:
    """pytorch-fid's Inception from its own weight file; nothing is downloaded.

    Args:
        path: weight file; None looks in `folder`, then where pytorch-fid caches it.
        folder: where downloaded weights are; None: `evaluation.weights.default_folder`.
        sha256: expected digest of `path`.

    Raises:
        MissingWeightsError: no file there.
        CorruptWeightsError: damaged, another digest, or not this network; checked before loading.
    """
    path = locate("inception", path, folder, sha256)
    tensors = read_tensors(path)
    first = "Conv2d_1a_3x3.conv.weight"
    width = _width(tensors, first, (3, 3, 3), inception.STEM_WIDTH, path)
    return _filled(inception.Inception(width), tensors, path)


def load_clip(
    pretrained: str = "openai/clip-vit-base-patch32",
    revision: str | None = None,
    sha256: str | None = None,
) -> CLIP:
    """CLIP from a folder or hub id; see `lightning_artv.networks.clip.CLIP`."""
    from lightning_artv.networks.clip import CLIP  # imports transformers, which takes a while

    return CLIP(pretrained, revision, sha256)


def random_features(kind: Kind, seed: int, width: Fraction = Fraction(1)) -> Features:
    """A network with He-scaled random weights, for trying a protocol out where no weights are.

    Its name begins with `random-`, and so must the name of every number that it gives.
    """
    networks = {
        "i3d": lambda: i3d.I3D(width=width),
        "c3d": lambda: c3d.C3D(c3d.no_mean(), width),
        "inception": lambda: inception.Inception(width),
    }
    features: Features = networks[kind]()
    he_scale(features, seed)
    features.name = f"random-{features.name}"
    return features


@torch.no_grad()
def he_scale(network: nn.Module, seed: int) -> None:
    """Draw weights from N(0, 2 / inputs) and set biases to zero, the same on every machine."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            std = math.sqrt(2 / parameter[0].numel())
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def _piergiaj_name(name: str) -> str:
    for pattern, replacement in _I3D_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _c3d_layers(path: Path) -> dict[str, Tensor]:
    """Tensors named `conv1a.weight`, `conv1a.bias`, ... `fc8.bias`."""
    tensors = {
        name.replace("/W", ".weight").replace("/b", ".bias"): tensor
        for name, tensor in read_tensors(path).items()
    }
    if not is_torchscript(path):
        return tensors
    weights = {name for name, t in tensors.items() if t.ndim == 2 or t.shape[2:] == (3, 3, 3)}
    layers = _layers(weights)  # without the colour flip, a 1x1x1 convolution, and the mean
    with torch.device("meta"):
        names = c3d.C3D(c3d.no_mean()).network.state_dict().keys()
    kept = {name: tensor for name, tensor in tensors.items() if _layer(name) in layers}
    return _renamed_in_order(kept, names)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _layers(names: Collection[str]) -> list[str]:
    """The layers that tensors belong to, in their order of definition."""
    return list(dict.fromkeys(_layer(name) for name in names))


def _renamed_in_order(tensors: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Give the layers of a file the names of ours, one by one; loading then checks their shapes."""
    ours = dict(zip(_layers(tensors), _layers(names), strict=False))
    return {
        f"{ours.get(_layer(name), _layer(name))}.{name.rpartition('.')[2]}": tensor
        for name, tensor in tensors.items()
    }


def _width(
    tensors: Mapping[str, Tensor], first: str, inputs: tuple[int, ...], full: int, path: Path
) -> Fraction:
    """Width of a network from its first convolution, which must read RGB."""
    weight = tensors.get(first)
    if weight is None or weight.shape[1:] != inputs:
        found = "is not there" if weight is None else f"has shape {tuple(weight.shape)}"
        raise CorruptWeightsError(
            f"{path} is not a file of this network: its first convolution {found}; give another "
            f"file."
        )
    return Fraction(len(weight), full)


def _filled(features: FeaturesT, tensors: Mapping[str, Tensor], path: Path) -> FeaturesT:
    try:
        features.network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CorruptWeightsError(
            f"{path} does not hold the layers of {features.name} "
            f"({str(error).splitlines()[1].strip()[:150]}): give another file."
        ) from error
    features.digests[path.name] = sha256_of(path)
    return features
