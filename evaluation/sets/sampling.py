"""Which videos of a set are taken. The first 2048 of sorted UCF-101 cover about 16 classes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from evaluation.finding import SetVideo


def apportion(sizes: Mapping[str, int], count: int, seed: int) -> dict[str, int]:
    """Split `count` over classes in proportion to their sizes (largest remainders).

    Every class gets at least one where `count` reaches; equal remainders are drawn by `seed`.
    """
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sizes.items()}
    order = sorted(sizes)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda name: count * sizes[name] % total, reverse=True)
    for name in order[: count - sum(shares.values())]:
        shares[name] += 1
    for name in [name for name in order if not shares[name]]:
        largest = max(order, key=lambda other: shares[other])
        if shares[largest] > 1:
            shares[largest] -= 1
            shares[name] += 1
    return shares


def sample(videos: Sequence[SetVideo], count: int | None, how: str, seed: int) -> list[SetVideo]:
    """`count` of the videos (all, if there are fewer or `count` is None) in their order.

    Args:
        videos: videos in a fixed order.
        count: how many.
        how: `stratified` by label, or `random`.
        seed: seed of the draw.
    """
    if count is None or count >= len(videos):
        return list(videos)
    if how == "random":
        return _draw(range(len(videos)), videos, count, f"{seed}")
    sizes = Counter(video.label for video in videos)
    chosen = {
        id(video)
        for label, share in apportion(sizes, count, seed).items()
        for video in _draw(
            [i for i, v in enumerate(videos) if v.label == label], videos, share, f"{seed}:{label}"
        )
    }
    return [video for video in videos if id(video) in chosen]


def _draw(
    indices: Sequence[int], videos: Sequence[SetVideo], count: int, seed: str
) -> list[SetVideo]:
    return [videos[i] for i in sorted(random.Random(seed).sample(list(indices), count))]
