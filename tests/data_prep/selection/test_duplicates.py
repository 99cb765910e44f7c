"""Near-duplicates: equal to comparing every pair, for any bits and distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.selection.duplicates import duplicates_of, parse_hashes
from lightning_artv.errors import DataError, UserError


def every_pair(hashes: np.ndarray, distance: int) -> list[int]:
    """The definition: in order, the first kept hash that is near, or -1."""
    words = [[int(word) for word in row] for row in hashes]
    result: list[int] = []
    for j, row in enumerate(words):
        near = [
            i
            for i in range(j)
            if result[i] < 0
            and sum((a ^ b).bit_count() for a, b in zip(row, words[i], strict=True)) <= distance
        ]
        result.append(near[0] if near else -1)
    return result


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 12),
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.integers(1, 40),
)
def test_equal_to_comparing_every_pair(words, distance, seed, clusters, count) -> None:
    distance = min(distance, 4 * words)
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, (clusters, words), np.uint64, endpoint=False)
    hashes = centres[rng.integers(0, clusters, count)]
    for _ in range(distance + 2):  # flip up to some more bits than the distance
        bit = np.uint64(1) << rng.integers(0, 64, count).astype(np.uint64)
        flip = rng.random(count) < 0.5
        hashes[np.arange(count), rng.integers(0, words, count)] ^= np.where(flip, bit, np.uint64(0))
    assert duplicates_of(hashes, distance).tolist() == every_pair(hashes, distance)


def test_all_equal_are_copies_of_the_first() -> None:
    hashes = np.full((50_000, 3), 7, np.uint64)
    result = duplicates_of(hashes, 6)
    assert result[0] == -1
    assert (result[1:] == 0).all()


def test_a_hundred_thousand_random_ones_with_planted_copies() -> None:
    rng = np.random.default_rng(1)
    hashes = rng.integers(0, 2**64, (100_000, 3), np.uint64, endpoint=False)
    hashes[99_000:] = hashes[:1000]
    hashes[99_000:, 1] ^= np.uint64(0b111 << 40)
    hashes[99_500:, 2] ^= np.uint64(0b1111)  # 7 bits: too far
    result = duplicates_of(hashes, 6)
    assert result[99_000:99_500].tolist() == list(range(500))
    assert (result[:99_000] == -1).all() and (result[99_500:] == -1).all()


def test_no_hashes_have_no_duplicates() -> None:
    assert duplicates_of(np.zeros((0, 3), np.uint64), 6).tolist() == []


@pytest.mark.parametrize(("words", "distance"), [(1, 5), (3, 13), (1, -1)])
def test_impossible_distances_are_refused(words: int, distance: int) -> None:
    with pytest.raises(UserError, match="distance"):
        duplicates_of(np.zeros((2, words), np.uint64), distance)


def test_hexadecimal_text_becomes_words() -> None:
    text = b"00000000000000ff8000000000000001"
    assert parse_hashes(text, 1).tolist() == [[255, 2**63 + 1]]
    assert parse_hashes(text, 2).tolist() == [[255], [2**63 + 1]]
    for bad in (b"0000000000000g00", b"00000000000000 0", "é".encode() * 8):
        with pytest.raises(DataError, match="not hexadecimal"):
            parse_hashes(bad, 1)
