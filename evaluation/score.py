"""Any folder of generated videos against a real set, under a protocol.

Videos stream through the networks in batches: pixels of three batches are in memory, however many
videos there are. What is kept of a video is its feature vector (2 KB for FVD and IS).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from evaluation.manifest import read_manifest, versions
from evaluation.meters import METERS, DistanceMeter, Meter, Weights
from evaluation.protocols import METRICS, Protocol
from evaluation.reference import fingerprint, load_cached, save_cached
from evaluation.result import LABELS, SKIPPED, Measurement, Result
from evaluation.sets import read_folder, read_split, sampled
from evaluation.videos import ClipRule, SetVideo, clip_batches, content_hash
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.progress import Progress


@dataclass(frozen=True)
class Scoring:
    """What to score, and with what.

    Attributes:
        protocol: how.
        real: the real set.
        fake: a folder of generated videos of any model.
        name: of the model.
        weights: where the networks are.
        device: of the networks.
        batch_size: videos at once.
        cache: folder for the real set's statistics.
    """

    protocol: Protocol
    real: Path
    fake: Path
    name: str
    weights: Weights
    device: torch.device
    batch_size: int
    cache: Path


def score(job: Scoring) -> Result:
    """Measure every metric of the protocol; those whose weights are missing are skipped.

    Raises:
        UserError: videos that cannot be scored, such as repeated ones.
        CorruptWeightsError: damaged weights; nothing of them was loaded.
        DataError: real videos are missing.
    """
    began = time.monotonic()
    found = read_folder(job.fake)
    fakes = sampled(job.protocol, found, job.protocol.fake_count)
    split = read_split(job.protocol, job.real)
    reals = sampled(job.protocol, split, job.protocol.real_count)
    digest = _check_fakes(fakes, job.protocol)
    meters, skipped = _meters(job, all(video.captions for video in fakes))
    real_digest = fingerprint(reals)
    _stream(job, meters, reals, real_digest, fakes)
    measurements = [m for meter in meters for m in meter.measurements()]
    manifest = read_manifest(job.fake) or {}
    return Result(
        name=job.name,
        mode=str(manifest.get("mode", "")),
        protocol=_described(job.protocol),
        sets={
            "real": {"found": len(split), "used": len(reals), "fingerprint": real_digest},
            "fake": {"found": len(found), "used": len(fakes), "sha256": digest},
        },
        measurements=tuple(
            sorted([*measurements, *skipped], key=lambda m: METRICS.index(m.metric))
        ),
        warnings=tuple(_warnings(job, meters, manifest, len(found), len(reals), len(fakes))),
        versions=versions(),
        run={
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - began, 1),
            "device": str(job.device),
            "real": str(job.real),
            "fake": str(job.fake),
        },
    )


def _stream(
    job: Scoring,
    meters: Sequence[Meter],
    reals: Sequence[SetVideo],
    real_digest: str,
    fakes: Sequence[SetVideo],
) -> None:
    """Pass all videos through the meters; the real ones only where their statistics are new.

    Generated videos go first: what is wrong with them is said at once.
    """
    distances = [meter for meter in meters if isinstance(meter, DistanceMeter)]
    abouts = [_about(job, meter, real_digest) for meter in distances]
    unknown = []
    for distance, about in zip(distances, abouts, strict=True):
        reference = load_cached(job.cache, about)
        if reference is None:
            unknown.append((distance, about))
        else:
            distance.use(reference)
    progress = Progress(len(fakes) + (len(reals) if unknown else 0), "video")
    for batch, clips in clip_batches(fakes, ClipRule.fake(job.protocol), job.batch_size):
        for meter in meters:
            meter.add_fake(clips.to(job.device), [video.captions for video in batch])
        progress(len(batch))
    if unknown:
        for batch, clips in clip_batches(reals, ClipRule.real(job.protocol), job.batch_size):
            for distance, _ in unknown:
                distance.add_real(clips.to(job.device))
            progress(len(batch))
        for distance, about in unknown:
            save_cached(job.cache, distance.reference(about))
    progress.finish()


def _meters(job: Scoring, captions: bool) -> tuple[list[Meter], list[Measurement]]:
    """The meters that the protocol needs, and what cannot be measured."""
    meters: list[Meter] = []
    skipped: list[Measurement] = []
    for make, names in METERS:
        wanted = [name for name in names if name in job.protocol.metrics]
        if not wanted:
            continue
        if wanted == ["clipsim"] and not captions:
            skipped.append(
                _skipped(
                    "clipsim",
                    f"The generated videos have no captions: put a metadata.csv with the columns "
                    f"file_name,text into '{job.fake.name}'.",
                )
            )
            continue
        try:
            meters.append(make(job.protocol, job.weights, job.device))
        except MissingWeightsError as error:
            skipped += [_skipped(name, str(error), missing_weights=True) for name in wanted]
    return meters, skipped


def _skipped(metric: str, reason: str, missing_weights: bool = False) -> Measurement:
    return Measurement(
        metric, LABELS[metric], SKIPPED, reason=reason, missing_weights=missing_weights
    )


def _check_fakes(fakes: Sequence[SetVideo], protocol: Protocol) -> str:
    """A digest of all generated videos.

    Raises:
        UserError: too few, or repeated ones: copies make a Fréchet distance smaller (505 videos
            four times: 44.5 where 2,020 different ones give 16.9).
    """
    if len(fakes) < 2:
        raise UserError("Scoring needs at least 2 generated videos: generate more.")
    if "is" in protocol.metrics and len(fakes) < protocol.splits:
        raise UserError(
            f"An Inception Score in {protocol.splits} splits needs at least as many videos and "
            f"there are {len(fakes)}: generate more, or use --set splits=1."
        )
    names = defaultdict(list)
    for video in fakes:
        names[content_hash(video)].append(video.name)
    repeated = [same for same in names.values() if len(same) > 1]
    if repeated:
        raise UserError(
            f"{len(fakes) - len(names)} of the {len(fakes)} generated videos are exact copies of "
            f"others, such as '{repeated[0][0]}' and '{repeated[0][1]}': remove the copies."
        )
    return hashlib.sha256("".join(names).encode()).hexdigest()


def _about(job: Scoring, meter: DistanceMeter, real_digest: str) -> dict[str, str]:
    """All that the statistics of a real set depend on."""
    return {
        "protocol": job.protocol.hash,
        "features": meter.features.name,
        "weights": json.dumps(meter.features.digests, sort_keys=True),
        "set": real_digest,
    }


def _described(protocol: Protocol) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "hash": protocol.hash,
        "source": protocol.source,
        "settings": protocol.settings(),
        "assumed": dict(protocol.assumed),
    }


def _warnings(
    job: Scoring,
    meters: Sequence[Meter],
    manifest: dict[str, Any],
    found: int,
    real: int,
    fake: int,
) -> list[str]:
    """What a reader must know to judge the numbers."""
    p = job.protocol
    warnings = []
    if p.name.endswith("*"):
        warnings.append(f"{p.name} is a changed protocol: compare only with the same hash.")
    if p.real_count is not None and real < p.real_count:
        warnings.append(f"The protocol asks for {p.real_count} real videos and there are {real}.")
    if fake < p.fake_count:
        warnings.append(
            f"The protocol asks for {p.fake_count} generated videos and there are {fake}."
        )
    if found > fake:
        warnings.append(f"{fake} of the {found} generated videos were drawn for the protocol.")
    if manifest.get("protocol_hash", p.hash) != p.hash:
        warnings.append(
            f"The videos were generated for protocol {manifest['protocol']} "
            f"({manifest['protocol_hash'][:12]}) and are scored under another."
        )
    if job.weights.random_seed is not None:
        warnings.append(
            f"I3D, C3D and Inception have random weights (seed {job.weights.random_seed}): such "
            "numbers say nothing about videos."
        )
    return list(dict.fromkeys([*warnings, *(note for meter in meters for note in meter.notes)]))
