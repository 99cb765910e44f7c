"""Weight files in the published formats with random weights, at test size unless told."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.features import c3d, i3d, inception
from evaluation.features.loading import he_scale

SMALL = Fraction(1, 16)


def random_state(network: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """He-scaled weights; biases and batch statistics that are not the trivial ones."""
    he_scale(network, seed)
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.7)
        elif name.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return state


def write_i3d(path: Path, width: Fraction = SMALL, seed: int = 0) -> Path:
    """A state dict in piergiaj's layout, as TATS publishes it."""
    torch.save(random_state(i3d.I3D(width=width).network, seed), path)
    return path


def write_c3d(path: Path, width: Fraction = SMALL, seed: int = 0) -> Path:
    """TGANv2's npz, as Chainer writes it."""
    state = random_state(c3d.C3D(c3d.no_mean(), width).network, seed)
    # pixels reach 128: smaller first weights keep the softmax from being all or nothing
    state["conv1a.weight"] /= 64
    names = {k: k.replace(".weight", "/W").replace(".bias", "/b") for k in state}
    np.savez(path, **{names[k]: v.numpy() for k, v in state.items()})
    return path


def write_mean(path: Path, seed: int = 0) -> Path:
    """`mean2.npz` of TGANv2."""
    mean = np.random.default_rng(seed).uniform(80, 110, c3d.MEAN_SHAPE).astype("f")
    np.savez(path, mean=mean)
    return path


def write_inception(path: Path, width: Fraction = SMALL, seed: int = 0) -> Path:
    """A state dict with the keys of pytorch-fid's file."""
    torch.save(random_state(inception.Inception(width).network, seed), path)
    return path


class Node(nn.Module):
    """A module that only holds others."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def write_torchscript(path: Path, state: Mapping[str, Tensor]) -> Path:
    """A TorchScript archive of modules that hold `state` under its names, in its order."""
    root = Node()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        node: nn.Module = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, Node())
            node = getattr(node, parent)
        if "running" in leaf or "num_batches" in leaf:
            node.register_buffer(leaf, tensor)
        else:
            node.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    torch.jit.save(torch.jit.script(root), str(path))
    return path


def with_part(path: Path, ending: str, data: bytes) -> Path:
    """Replace the part of a zip whose name has that ending; all checksums are right again."""
    rewritten = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(rewritten, "w") as new:
        for name in old.namelist():
            new.writestr(name, data if name.endswith(ending) else old.read(name))
    path.write_bytes(rewritten.getvalue())
    return path
