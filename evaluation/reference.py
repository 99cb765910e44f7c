"""Statistics of a real set, measured once and kept: they are the same for every model."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.finding import SetVideo, files_of
from evaluation.statistics import Reference
from lightning_artv.media.atomic import write_atomically
from lightning_artv.networks.pretrained import sha256_of

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


def load_cached(cache: Path, about: Mapping[str, str]) -> Reference | None:
    """The statistics of what `about` describes, or None where there are none, or damaged ones."""
    path = _path(cache, about)
    if not path.is_file():
        return None
    checksum = _checksum(path)
    if checksum.is_file() and checksum.read_bytes() == sha256_of(path).encode():
        return Reference.load(path)
    print(f"note: {path} is damaged and is made again.", file=sys.stderr)
    return None


def save_cached(cache: Path, reference: Reference) -> None:
    """Keep statistics with a checksum, which safetensors lacks.

    Raises:
        UserError: the place cannot be written.
    """
    path = _path(cache, reference.about)
    reference.save(path)
    write_atomically(_checksum(path), sha256_of(path).encode())


def _path(cache: Path, about: Mapping[str, str]) -> Path:
    key = hashlib.sha256(json.dumps(dict(about), sort_keys=True).encode()).hexdigest()
    return cache / f"{about['features'].replace('/', '-')}-{key[:16]}.safetensors"


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")
