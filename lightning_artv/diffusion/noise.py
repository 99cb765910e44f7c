"""Randomness as an argument: one CPU generator per sample.

A sample's noise depends only on its own generator: not on its batch mates, nor on the device or the
dtype that the values are wanted in (they are always drawn on the CPU in float32 and converted
afterwards).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_artv.diffusion.transfer import to_device

Generators = Sequence[torch.Generator]
"""One CPU generator per sample; its noise depends neither on its batch mates nor on the device."""


def generators_for(seed: int, keys: Sequence[str | int]) -> list[torch.Generator]:
    """One CPU generator for each key, seeded by a stable hash of `seed` and the key.

    The same on every machine, in every process and for every order of `keys`. The integer 1 and the
    string "1" are different keys.
    """
    return [torch.Generator().manual_seed(_hash(seed, key)) for key in keys]


def randn(
    generators: Generators,
    shape: Sequence[int],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise `[B, *shape]`; row i is drawn from `generators[i]` alone."""
    rows = torch.empty(len(generators), *shape)
    for row, generator in zip(rows, generators, strict=True):
        row.normal_(generator=generator)
    return to_device(rows, device).to(dtype)


def rand(
    generators: Generators,
    shape: Sequence[int] = (),
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Uniform numbers in [0, 1), `[B, *shape]`; row i is drawn from `generators[i]` alone."""
    rows = [torch.rand(tuple(shape), generator=generator) for generator in generators]
    return to_device(_stack(rows, shape, torch.float32), device).to(dtype)


def randint(
    generators: Generators, low: int, high: int, device: torch.device | str | None = None
) -> Tensor:
    """Uniform integers in [low, high), int64 `[B]`; row i is drawn from `generators[i]` alone."""
    rows = [torch.randint(low, high, (), generator=generator) for generator in generators]
    return to_device(_stack(rows, (), torch.int64), device)


def random_steps(
    generators: Generators, count: int, from_noise: float, device: torch.device | str | None = None
) -> Tensor:
    """Uniform steps in [0, count), int64 `[B]`, of which a share `from_noise` is moved to the last,
    where nothing of a sample is left in its noise.
    """
    steps = randint(generators, 0, count, device)
    if not from_noise:
        return steps
    is_moved = rand(generators, (), device) < from_noise
    return steps.where(~is_moved, torch.full_like(steps, count - 1))


def _stack(rows: list[Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.stack(rows) if rows else torch.empty(0, *shape, dtype=dtype)


def _hash(seed: int, key: str | int) -> int:
    """64 bits of blake2b over the seed and the key; the prefix keeps 1 and "1" apart."""
    name = f"s{key}" if isinstance(key, str) else f"i{int(key)}"
    digest = hashlib.blake2b(f"{int(seed)} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def names_of(keys: Sequence[str], step: int) -> list[str]:
    """A name a training sample for its randomness; a key that is there twice gives two names."""
    seen: Counter[str] = Counter()
    names = []
    for key in keys:
        names.append(f"train:{step}:{key}:{seen[key]}")
        seen[key] += 1
    return names
