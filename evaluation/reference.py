"""Statistics of a real set, measured once and kept: they are the same for every model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.statistics import Reference
from evaluation.videos import SetVideo, files_of
from lightning_artv.errors import UserError

DEFAULT_CACHE = "~/.cache/lightning_artv/reference"


def fingerprint(videos: Sequence[SetVideo]) -> str:
    """sha256 of the videos' names, sizes and times of change, 64 hex digits.

    Contents are not read: UCF-101 has 6.5 GB.
    """
    digest = hashlib.sha256()
    for video in videos:
        states = [(path.name, path.stat()) for path in files_of(video)]
        entry = [video.name, [(name, s.st_size, s.st_mtime_ns) for name, s in states]]
        digest.update(json.dumps(entry).encode())
    return digest.hexdigest()


def cached_path(cache: Path, about: Mapping[str, str]) -> Path:
    """Where the statistics of what `about` describes are."""
    key = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode()).hexdigest()
    return cache / f"{about['features'].replace('/', '-')}-{key[:16]}.safetensors"


def load_cached(cache: Path, about: Mapping[str, str]) -> Reference | None:
    """The statistics, or None where there are none, or damaged ones (which is said on stderr)."""
    path = cached_path(cache, about)
    if not path.is_file():
        return None
    try:
        reference = Reference.load(path)
    except UserError as error:
        print(f"note: {error} It is made again.", file=sys.stderr)
        return None
    return reference if dict(reference.about) == dict(about) else None
