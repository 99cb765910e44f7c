"""I3D and C3D once more, in numpy and float64, written from the papers' descriptions.

A convolution is a sum over kernel positions of shifted slices times a matrix, a pooling a maximum
over the same slices, a resize two matrix products. Nothing is shared with the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray
State = Mapping[str, Array]


def windows(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], out: tuple[int, ...]):
    """For each kernel position, its index and the slice of `x` `[C, T, H, W]` that it meets."""
    for index in itertools.product(*(range(k) for k in kernel)):
        cut = tuple(
            slice(i, i + (n - 1) * s + 1, s) for i, n, s in zip(index, out, stride, strict=True)
        )
        yield index, x[(slice(None), *cut)]


def padded_same(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], value: float):
    """TensorFlow's SAME: as many outputs as strides fit, the odd pad at the end."""
    out = tuple(-(-n // s) for n, s in zip(x.shape[1:], stride, strict=True))
    total = [
        max(0, (o - 1) * s + k - n)
        for o, s, k, n in zip(out, stride, kernel, x.shape[1:], strict=True)
    ]
    pads = [(0, 0), *((t // 2, t - t // 2) for t in total)]
    return np.pad(x, pads, constant_values=value), out


def conv(x: Array, weight: Array, stride: tuple[int, ...] = (1, 1, 1)) -> Array:
    kernel = weight.shape[2:]
    padded, out = padded_same(x, kernel, stride, 0.0)
    total = np.zeros((len(weight), *out))
    for index, piece in windows(padded, kernel, stride, out):
        total += np.tensordot(weight[(slice(None), slice(None), *index)], piece, axes=1)
    return total


def max_pool(x: Array, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Array:
    padded, out = padded_same(x, kernel, stride, -np.inf)
    return np.max([piece for _, piece in windows(padded, kernel, stride, out)], axis=0)


def bilinear(length: int, size: int, corners: bool) -> Array:
    """Matrix `[size, length]` of linear interpolation between pixel centres (or corners)."""
    matrix = np.zeros((size, length))
    for i in range(size):
        at = i * (length - 1) / (size - 1) if corners else (i + 0.5) * length / size - 0.5
        at = min(max(at, 0), length - 1)
        low = min(int(at), length - 2)
        matrix[i, low] += 1 - (at - low)
        matrix[i, low + 1] += at - low
    return matrix


def resize(frames: Array, size: int, corners: bool) -> Array:
    """`[..., H, W]` to `[..., size, size]`."""
    rows, columns = (bilinear(n, size, corners) for n in frames.shape[-2:])
    return rows @ frames @ columns.T


# Name, and either the branches of an Inception module or kernel and stride of a pooling.
MIXED = (
    *("Mixed_3b", "Mixed_3c", ((3, 3, 3), (2, 2, 2))),
    *("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f", ((2, 2, 2), (2, 2, 2))),
    *("Mixed_5b", "Mixed_5c"),
)


def i3d(video: Array, state: State, eps: float = 1e-3) -> Array:
    """uint8 `[T, 3, H, W]`, stretched to 224, to logits `[400]`."""

    def unit(x: Array, name: str, stride: tuple[int, ...] = (1, 1, 1)) -> Array:
        x = conv(x, state[f"{name}.conv3d.weight"], stride)
        leaves = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gamma, beta = (
            state[f"{name}.bn.{leaf}"][:, None, None, None] for leaf in leaves
        )
        return np.maximum(gamma * (x - mean) / np.sqrt(variance + eps) + beta, 0)

    x = resize(video.astype(float), 224, corners=False).transpose(1, 0, 2, 3) / 255 * 2 - 1
    x = unit(x, "Conv3d_1a_7x7", (2, 2, 2))
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    for step in MIXED:
        if not isinstance(step, str):
            x = max_pool(x, *step)
            continue
        chains: tuple[tuple[str, ...], ...] = (("b0",), ("b1a", "b1b"), ("b2a", "b2b"), ("b3b",))
        outputs = []
        for chain in chains:
            y = max_pool(x, (3, 3, 3), (1, 1, 1)) if chain == ("b3b",) else x
            for name in chain:
                y = unit(y, f"{step}.{name}")
            outputs.append(y)
        x = np.concatenate(outputs)
    pooled = np.mean([x[:, t : t + 2].mean(axis=(1, 2, 3)) for t in range(x.shape[1] - 1)], axis=0)
    return state["logits.conv3d.weight"][:, :, 0, 0, 0] @ pooled + state["logits.conv3d.bias"]


def c3d(video: Array, state: State, mean: Array) -> Array:
    """uint8 `[16, 3, H, W]` to probabilities `[101]`; `mean` `[3, 16, 128, 171]`."""
    blue_green_red = (video.astype(float)[:, ::-1] - 128) / 128
    x = resize(blue_green_red * 128, 112, corners=True).transpose(1, 0, 2, 3)
    x = x + 128 - mean[:, :, 8:120, 8:120]

    def layer(x: Array, name: str) -> Array:
        bias = state[f"{name}.bias"][:, None, None, None]
        return np.maximum(conv(x, state[f"{name}.weight"]) + bias, 0)

    pool: Callable[[Array], Array] = lambda x: ceil_pool(x, (2, 2, 2))  # noqa: E731
    x = ceil_pool(layer(x, "conv1a"), (1, 2, 2))
    x = pool(layer(x, "conv2a"))
    for number in "345":
        x = pool(layer(layer(x, f"conv{number}a"), f"conv{number}b"))
    hidden = x.reshape(-1)
    for name in ("fc6", "fc7"):
        hidden = np.maximum(state[f"{name}.weight"] @ hidden + state[f"{name}.bias"], 0)
    logits = state["fc8.weight"] @ hidden + state["fc8.bias"]
    odds = np.exp(logits - logits.max())
    return odds / odds.sum()


def ceil_pool(x: Array, size: tuple[int, ...]) -> Array:
    """Maximum over blocks; the last block of an odd side is smaller."""
    starts = [range(0, n, s) for n, s in zip(x.shape[1:], size, strict=True)]
    out = np.empty((len(x), *(len(s) for s in starts)))
    for place in itertools.product(*(range(len(s)) for s in starts)):
        block = tuple(slice(p * s, (p + 1) * s) for p, s in zip(place, size, strict=True))
        out[(slice(None), *place)] = x[(slice(None), *block)].max(axis=(1, 2, 3))
    return out
