"""Which videos a protocol has a model make: prompts, names, seeds, true first frames."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.finding import SetVideo
from evaluation.prompts import class_sentences
from evaluation.protocols import Protocol
from evaluation.sets import apportion, read_split, sampled
from lightning_artv.errors import UserError
from lightning_artv.generation.options import slug


@dataclass(frozen=True)
class Sample:
    """One video to generate.

    Attributes:
        index: its place in the plan; its seed is the protocol's plus this.
        name: name of its folder.
        prompt: what it shows.
        real: the real video that it starts from in the true-frame mode.
    """

    index: int
    name: str
    prompt: str
    real: SetVideo


def plan_samples(
    protocol: Protocol, data: str | Path, prompts: str | Path | None = None
) -> list[Sample]:
    """The protocol's videos in an order of which any beginning is spread over all classes.

    Args:
        protocol: says how many, from what.
        data: the real set.
        prompts: sentences for classes instead of ours (see `class_sentences`).

    Raises:
        UserError: sentences or captions are missing.
        DataError: real videos are missing.
    """
    videos = read_split(protocol, data)
    if protocol.prompts == "caption":
        if prompts is not None:
            raise UserError("--prompts is for class sentences; this protocol has captions.")
        pairs = _captioned(protocol, sampled(protocol, videos, protocol.real_count))
    else:
        pairs = _class_sentences(protocol, videos, prompts)
    digits = max(5, len(str(len(pairs) - 1)))
    return [
        Sample(index, f"{index:0{digits}d}-{slug(prompt)}", prompt, real)
        for index, (prompt, real) in enumerate(pairs)
    ]


def prompts_digest(videos: Sequence[SetVideo]) -> str | None:
    """sha256 of the videos' captions, whatever the videos are called; None where none has any.

    Two results of one protocol compare only if their models were given the same prompts.
    """
    captions = sorted(list(video.captions) for video in videos if video.captions)
    text = json.dumps(captions, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest() if captions else None


def _class_sentences(
    protocol: Protocol, videos: list[SetVideo], prompts: str | Path | None
) -> list[tuple[str, SetVideo]]:
    """Classes in turn, each as often as its share of the split; real videos of a class in turn."""
    if any(not video.label for video in videos):
        raise UserError(
            "The protocol makes videos from class sentences, but the real set has no class "
            "folders: use --set prompts=caption with a metadata.csv."
        )
    sizes = Counter(video.label for video in videos)
    sentences = class_sentences(prompts, list(sizes))
    chosen = _by_label(sampled(protocol, videos, protocol.real_count))
    of_class = {**_by_label(videos), **chosen}
    shares = apportion(sizes, protocol.fake_count, protocol.seed)
    return [
        (sentences[label], of_class[label][turn % len(of_class[label])])
        for turn in range(max(shares.values()))
        for label in sizes
        if turn < shares[label]
    ]


def _captioned(protocol: Protocol, videos: list[SetVideo]) -> list[tuple[str, SetVideo]]:
    """Real videos in turn, each with `captions_per_video` of its captions."""
    wanted = protocol.captions_per_video
    short = [video.name for video in videos if len(video.captions) < wanted]
    if short:
        raise UserError(
            f"{len(short)} real videos have fewer than {wanted} captions, the first is "
            f"'{short[0]}': use --set captions_per_video=1, or add captions."
        )
    drawn = [(video, _draw(video.captions, wanted, protocol.seed, video.name)) for video in videos]
    pairs = [(captions[turn], video) for turn in range(wanted) for video, captions in drawn]
    if len(pairs) < protocol.fake_count:
        raise UserError(
            f"The real set has {len(pairs)} captions for the protocol's {protocol.fake_count} "
            f"videos: use --set fake_count={len(pairs)}."
        )
    return pairs[: protocol.fake_count]


def _draw(captions: Sequence[str], count: int, seed: int, name: str) -> list[str]:
    indices = random.Random(f"{seed}:{name}").sample(range(len(captions)), count)
    return [captions[i] for i in sorted(indices)]


def _by_label(videos: Sequence[SetVideo]) -> dict[str, list[SetVideo]]:
    grouped: dict[str, list[SetVideo]] = defaultdict(list)
    for video in videos:
        grouped[video.label].append(video)
    return dict(grouped)
