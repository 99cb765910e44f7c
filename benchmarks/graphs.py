"""A denoising call, and a training step's networks, replayed as one CUDA graph each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_artv.systems.artv.denoiser import ARTVDenoiser, Encoded, Masked
from lightning_artv.systems.artv.networks.anchor import keep_keys_values


def tensors_of(value: Any) -> Iterator[Tensor]:
    """All tensors in dataclasses, mappings and sequences, in a fixed order."""
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_of(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_of(inner)


def captured(call: Callable[[], Any], warm_up: int = 3) -> tuple[torch.cuda.CUDAGraph, Any]:
    """A CUDA graph of a call, and what it answers."""
    here, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        for _ in range(warm_up):
            call()
    here.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = call()
    return graph, answer


class GraphedDenoiser:
    """Stands in for `ARTVDenoiser.denoise`; each frame's encoding is copied in once."""

    def __init__(self, denoiser: ARTVDenoiser) -> None:
        self.denoiser, self.call = denoiser, denoiser.denoise
        self.graph: torch.cuda.CUDAGraph | None = None
        self.seen: Encoded | None = None

    def __call__(self, y_t: Tensor, t: Tensor, encoded: Encoded, deep: str = "run") -> Masked:
        networks = ((self.denoiser.dynamic, encoded.dynamic), (self.denoiser.mask, encoded.mask))
        for network, conditions in networks:
            if network is not None and conditions is not None and not conditions.anchor.kept:
                keep_keys_values(network.unet, conditions.text, conditions.anchor)
        if self.graph is None:
            self.y_t, self.t, self.encoded = y_t.clone(), t.clone(), encoded
            call = lambda: self.call(self.y_t, self.t, self.encoded)  # noqa: E731
            self.graph, self.answer = captured(call)
        elif encoded is not self.seen:
            pairs = zip(tensors_of(self.encoded), tensors_of(encoded), strict=True)
            for mine, new in pairs:
                mine.copy_(new)
        self.seen = encoded
        self.y_t.copy_(y_t)
        self.t.copy_(t)
        self.graph.replay()
        return self.answer
