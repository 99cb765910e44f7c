"""Near-duplicate videos by the Hamming distance of their perceptual hashes, for millions of them.

Exact, not approximate: the bits are cut into `distance + 1` blocks; of two hashes at most
`distance` apart at least one block is equal (pigeonhole), so it is enough to compare those that
share a block. Where blocks would be too short to tell videos apart (below 24 bits), they are
`distance + 2`, of which two must be equal. For 192 bits and a distance of 6 these are 7 sorts by
27 bits each; of ten million random hashes few meet by chance. Many videos with one equal block
(such as thousands of nearly, but not exactly, equal ones) cost the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from lightning_artv.errors import DataError, UserError

_WORD = 64
_TELLING = 24
_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio, made odd: multiplying by it spreads any bits over the upper ones."""

_MOST = 4
"""Largest distance for each 64 bits; beyond, blocks are too short to tell videos apart."""


def parse_hashes(text: bytes, count: int) -> NDArray[np.uint64]:
    """Hexadecimal digits of `count` hashes, `16 k` each, one after the other -> words `[N, k]`.

    Raises:
        DataError: something that is no hexadecimal digit.
    """
    try:
        data = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        data = b""
    if 2 * len(data) != len(text):  # blanks are skipped
        raise DataError("A phash is not hexadecimal; make the table again with the step motion.")
    words = np.frombuffer(data, ">u8").astype(np.uint64)
    return words.reshape(count, len(words) // max(count, 1))


def duplicates_of(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """For each hash the first kept one within `distance`, or -1 for one that is kept.

    In order, a hash is kept if no kept one before it is near; so sort by what matters most before.

    Args:
        hashes: words `[N, k]`, best first.
        distance: bits that may differ, at most 4 for each 64.

    Returns:
        `[N]`, an index or -1.

    Raises:
        UserError: a distance that is negative or too large.
    """
    count, words = hashes.shape
    if not 0 <= distance <= _MOST * max(words, 1):
        raise UserError(
            f"The distance of duplicates must be 0 to {_MOST * words} bits, got {distance}."
        )
    leader = _first_equal(hashes)
    unique = np.flatnonzero(leader == np.arange(count))
    near: NDArray[np.int64] = np.full(count, -1, np.int64)
    if distance and len(unique) > 1:
        alone = hashes if len(unique) == count else hashes[unique]  # a copy is hundreds of MB
        near[unique] = _greedy(_near_pairs(alone, distance), unique)
    # a copy of a dropped one is as near to what that one is a duplicate of
    result = np.where(near[leader] >= 0, near[leader], leader)
    result[unique] = near[unique]
    return result


def _first_equal(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each hash the index of the first equal one (its own, if it is that)."""
    mixed = np.zeros(len(hashes), np.uint64)
    for word in hashes.T:
        mixed = (mixed ^ word) * _MIX
        mixed ^= mixed >> np.uint64(32)
    order = np.argsort(mixed, kind="stable")  # equal ones stay in order
    same = mixed[order[1:]] == mixed[order[:-1]]
    pairs = np.flatnonzero(same)
    if (hashes[order[pairs]] != hashes[order[pairs + 1]]).any():  # two hashes, one mixture
        order = np.lexsort(hashes.T)
        same = (hashes[order[1:]] == hashes[order[:-1]]).all(1)
    starts = np.concatenate([[True], ~same])[: len(order)]
    first = np.empty(len(order), np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first


def _near_pairs(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """Pairs `[M, 2]` of indices (i < j) at most `distance` apart, sorted by (j, i)."""
    equal = 1 if _WORD * hashes.shape[1] // (distance + 1) >= _TELLING else 2
    found = [np.empty(0, np.uint64)]
    for chosen in combinations(_blocks(hashes.shape[1], distance + equal), equal):
        mixed = np.zeros(len(hashes), np.uint64)
        for start, end in chosen:
            mixed ^= _bits(hashes, start, end)
            mixed *= _MIX
        # 32 bits tell enough; what falls together by chance is compared and goes
        for first, second in _meetings(mixed >> np.uint64(32)):
            differing = np.bitwise_count(hashes[first] ^ hashes[second]).sum(1, dtype=np.int64)
            close = differing <= distance
            lower = np.minimum(first[close], second[close])
            upper = np.maximum(first[close], second[close])
            found.append(upper << np.uint64(32) | lower)
    pairs = np.unique(np.concatenate(found))
    lower, upper = pairs & np.uint64(0xFFFFFFFF), pairs >> np.uint64(32)
    return np.stack([lower, upper], 1).astype(np.int64)


def _blocks(words: int, count: int) -> list[tuple[int, int]]:
    """Where each of `count` blocks of bits starts and ends."""
    return list(pairwise(np.linspace(0, _WORD * words, count + 1).astype(int).tolist()))


def _bits(hashes: NDArray[np.uint64], start: int, end: int) -> NDArray[np.uint64]:
    """The bits from `start` to `end` of each hash, `[N]`; more than 64 are folded."""
    block = np.zeros(len(hashes), np.uint64)
    for word in range(start // _WORD, -(-end // _WORD)):
        low, high = max(start - word * _WORD, 0), min(end - word * _WORD, _WORD)
        bits = hashes[:, word] >> np.uint64(low)
        if high - low < _WORD:
            bits &= np.uint64((1 << (high - low)) - 1)
        block *= _MIX
        block += bits
    return block


def _meetings(
    keys: NDArray[np.uint64],
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint64]]]:
    """All pairs of indices with equal keys of 32 bits, in arrays."""
    packed = keys << np.uint64(32)
    packed |= np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    keys = (packed >> np.uint64(32)).astype(np.uint32)
    indices = packed.astype(np.uint32)  # the lower half
    del packed
    offset, at = 1, np.flatnonzero(keys[1:] == keys[:-1])
    while len(at):
        yield indices[at].astype(np.uint64), indices[at + offset].astype(np.uint64)
        offset += 1
        at = at[at + offset < len(keys)]
        at = at[keys[at] == keys[at + offset]]


def _greedy(pairs: NDArray[np.int64], unique: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each unique hash the original index of the first kept one near it, or -1."""
    near = np.full(len(unique), -1, np.int64)
    for i, j in pairs.tolist():
        if near[j] < 0 and near[i] < 0:
            near[j] = unique[i]
    return near
