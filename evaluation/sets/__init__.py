"""Real sets in their own layouts, and the videos of them that a protocol takes."""

from __future__ import annotations

from pathlib import Path

from evaluation.finding import SetVideo
from evaluation.notes import Warn, on_stderr
from evaluation.protocols import Protocol
from evaluation.sets.folder import read_folder
from evaluation.sets.msrvtt import read_msrvtt
from evaluation.sets.sampling import apportion, sample
from evaluation.sets.ucf101 import read_ucf101
from evaluation.sets.webvid import read_webvid

__all__ = ["apportion", "read_folder", "read_split", "sample", "sampled"]


def read_split(protocol: Protocol, root: str | Path, warn: Warn = on_stderr) -> list[SetVideo]:
    """Every video of the protocol's split.

    `warn` takes sentences on what is left out.

    Raises:
        UserError: another layout, or the split is not there.
        DataError: videos are missing.
    """
    if protocol.dataset == "ucf101":
        return read_ucf101(root, protocol.split, warn)
    if protocol.dataset == "msrvtt":
        return read_msrvtt(root, protocol.split, warn)
    if protocol.dataset == "webvid":
        return read_webvid(root, warn)
    return read_folder(root, warn)


def sampled(protocol: Protocol, videos: list[SetVideo], count: int | None) -> list[SetVideo]:
    """`count` of the videos, drawn as the protocol says."""
    return sample(videos, count, protocol.sampling, protocol.seed)
