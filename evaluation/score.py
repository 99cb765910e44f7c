"""Any folder of generated videos against a real set, under a protocol.

Videos stream through the networks in batches: pixels of three batches are in memory, however many
videos there are. What is kept of a video is its feature vector (2 KB for FVD and IS).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from evaluation.finding import SetVideo
from evaluation.inspection import (
    Stored,
    count_codecs,
    inspect,
    inspect_some,
    storage_warning,
)
from evaluation.manifest import read_manifest, versions
from evaluation.meters import METERS, DistanceMeter, Meter, Weights
from evaluation.notes import Notes, on_stderr
from evaluation.plan import prompts_digest
from evaluation.protocols import METRICS, Protocol
from evaluation.reference import fingerprint, load_cached, save_cached
from evaluation.result import LABELS, SKIPPED, Measurement, Result
from evaluation.sets import read_folder, read_split, sampled
from evaluation.sets.folder import METADATA, metadata_of
from evaluation.stream import stream_fakes, stream_reals
from evaluation.videos import ClipRule
from lightning_artv.errors import MissingWeightsError, UserError
from lightning_artv.progress import Progress


@dataclass(frozen=True)
class Scoring:
    """What to score, and with what.

    Attributes:
        protocol: how.
        real: the real set.
        fake: a folder of generated videos of any model.
        name: name of the model.
        weights: where the networks are.
        device: device of the networks.
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
    notes = Notes()
    found = read_folder(job.fake, notes)
    fakes = sampled(job.protocol, found, job.protocol.fake_count)
    split = read_split(job.protocol, job.real, notes)
    reals = sampled(job.protocol, split, job.protocol.real_count)
    _check_count(len(fakes), job.protocol)
    stored = inspect(fakes, ClipRule.fake(job.protocol), "generated")
    meters, skipped = _meters(job, fakes)
    real_digest = fingerprint(reals)
    unknown = _use_known(job, meters, real_digest)
    if warning := storage_warning(_stored_reals(job, reals, bool(unknown)), stored):
        notes(warning)
    digest = _stream(job, meters, unknown, reals, fakes)
    measurements = [m for meter in meters for m in meter.measurements()]
    manifest = read_manifest(job.fake) or {}
    warnings = _warnings(job, meters, manifest, len(found), len(reals), len(fakes))
    return Result(
        name=job.name,
        mode=str(manifest.get("mode", "")),
        protocol=_described(job.protocol),
        sets={
            "real": {"found": len(split), "used": len(reals), "fingerprint": real_digest},
            "fake": {
                "found": len(found),
                "used": len(fakes),
                "sha256": digest,
                "prompts_sha256": prompts_digest(fakes),
                "stored": count_codecs(stored),
            },
        },
        measurements=_in_order([*measurements, *skipped]),
        warnings=(*notes.sentences, *warnings),
        versions=versions(),
        run=_run(job, began),
    )


def _in_order(measurements: list[Measurement]) -> tuple[Measurement, ...]:
    return tuple(sorted(measurements, key=lambda m: METRICS.index(m.metric)))


def _stored_reals(job: Scoring, reals: Sequence[SetVideo], are_read: bool) -> list[Stored]:
    """How some of the real videos are stored, the same whether statistics are known or not; all
    that are to be read are known to open.
    """
    rule = ClipRule.real(job.protocol)
    if are_read:
        inspect(reals, rule, "real")
    return inspect_some(reals, rule)


def _run(job: Scoring, began: float) -> dict[str, Any]:
    """When, how long, where and of what."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "device": str(job.device),
        "real": str(job.real),
        "fake": str(job.fake),
    }


_About = dict[str, str]


def _use_known(
    job: Scoring, meters: Sequence[Meter], real_digest: str
) -> list[tuple[DistanceMeter, _About]]:
    """Give meters the real set's statistics, and return those for which they are new."""
    unknown = []
    for meter in meters:
        if not isinstance(meter, DistanceMeter):
            continue
        about = _about(job, meter, real_digest)
        reference = load_cached(job.cache, about)
        if reference is None:
            unknown.append((meter, about))
        else:
            meter.use(reference)
    return unknown


def _stream(
    job: Scoring,
    meters: Sequence[Meter],
    unknown: Sequence[tuple[DistanceMeter, _About]],
    reals: Sequence[SetVideo],
    fakes: Sequence[SetVideo],
) -> str:
    """Pass the videos through the meters, generated ones first, and return a digest of these."""
    progress = Progress(len(fakes) + (len(reals) if unknown else 0), "video")
    rest = (job.batch_size, job.device, progress)
    digest = stream_fakes(meters, fakes, ClipRule.fake(job.protocol), *rest)
    if unknown:
        new = [meter for meter, _ in unknown]
        stream_reals(new, reals, ClipRule.real(job.protocol), *rest)
    for meter, about in unknown:
        save_cached(job.cache, meter.reference(about))
    progress.finish()
    return digest


def _meters(job: Scoring, fakes: Sequence[SetVideo]) -> tuple[list[Meter], list[Measurement]]:
    """The meters that the protocol needs, and what cannot be measured."""
    meters: list[Meter] = []
    skipped: list[Measurement] = []
    for make, names in METERS:
        wanted = [name for name in names if name in job.protocol.metrics]
        if not wanted:
            continue
        if wanted == ["clipsim"] and (reason := _without_captions(job.fake, fakes)):
            on_stderr(f"CLIPSIM is skipped: {reason}")
            skipped.append(_skipped("clipsim", reason))
            continue
        try:
            meters.append(make(job.protocol, job.weights, job.device))
        except MissingWeightsError as error:
            skipped += [_skipped(name, str(error), missing_weights=True) for name in wanted]
    return meters, skipped


def _without_captions(folder: Path, fakes: Sequence[SetVideo]) -> str:
    """Why there is no CLIPSIM; empty where every video has a caption."""
    lacking = [video.name for video in fakes if not video.captions]
    if not lacking:
        return ""
    table = metadata_of(folder)
    if table is None:
        return (
            f"The generated videos have no captions: put a {METADATA} with the columns "
            f"file_name,text into '{folder.name}'."
        )
    return (
        f"{len(lacking)} of the {len(fakes)} generated videos have no caption in "
        f"'{folder.name}/{table.name}', the first is '{lacking[0]}': add a line for each."
    )


def _skipped(metric: str, reason: str, missing_weights: bool = False) -> Measurement:
    return Measurement(
        metric, LABELS[metric], SKIPPED, reason=reason, missing_weights=missing_weights
    )


def _check_count(count: int, protocol: Protocol) -> None:
    """Raises:
    UserError: too few generated videos.
    """
    if count < 2:
        raise UserError("Scoring needs at least 2 generated videos: generate more.")
    if "is" in protocol.metrics and count < protocol.splits:
        raise UserError(
            f"An Inception Score in {protocol.splits} splits needs at least as many videos and "
            f"there are {count}: generate more, or use --set splits=1."
        )


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
