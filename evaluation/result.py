"""The result of scoring: numbers with everything that is needed to judge them, as json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evaluation.manifest import differences, to_json
from evaluation.protocols import settings_hash
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

FORMAT = 1
MEASURED, SKIPPED = "measured", "skipped"
LOWER, HIGHER, NEITHER = "↓", "↑", ""
LABELS = {
    "fvd": "FVD",
    "kvd": "KVD",
    "is": "IS",
    "fid": "FID",
    "clipsim": "CLIPSIM",
    "flicker": "flicker",
    "drift": "drift",
    "motion": "motion",
}
DIRECTIONS = {
    "fvd": LOWER,
    "kvd": LOWER,
    "is": HIGHER,
    "fid": LOWER,
    "clipsim": HIGHER,
    "flicker": NEITHER,
    "drift": LOWER,
    "motion": NEITHER,
}
"""Which way a metric is better; motion and flicker have no better side of their own."""


@dataclass(frozen=True)
class Measurement:
    """One metric of one set of generated videos.

    Attributes:
        metric: a name of `evaluation.protocols.METRICS`.
        label: what a table calls it: `FVD`, or `random-FVD` where the network's weights are random.
        status: `measured` or `skipped`; a skipped one has no number.
        value: the number.
        sd: its standard deviation, and `sd_of` says of what.
        real, fake: numbers of videos.
        features: the network's name, or empty.
        weights: file name -> sha256 of the network's weights, or `random seed` -> the seed.
        more: further numbers, such as FVD∞.
        curve: one value a frame, for drift.
        reason: why it was skipped.
        missing_weights: whether it was skipped for want of weights.
    """

    metric: str
    label: str
    status: str
    value: float | None = None
    sd: float | None = None
    sd_of: str = ""
    real: int = 0
    fake: int = 0
    features: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, float] = field(default_factory=dict)
    curve: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reason: str = ""
    missing_weights: bool = False


@dataclass(frozen=True)
class Result:
    """All metrics of one set of generated videos under one protocol.

    Attributes:
        name: name of the model.
        mode: where first frames came from (`evaluation.generate.MODES`), or empty.
        protocol: name, hash, settings, assumed.
        sets: of `real` and `fake`: how many videos were found and used, and a digest; of `fake`
            also a digest of the prompts (None: no captions).
        measurements: numbers in the protocol's order.
        warnings: what a reader must know to judge the numbers.
        versions: versions of the packages.
        run: when, where and how long: not part of a report, which so stays the same byte for byte.
    """

    name: str
    mode: str
    protocol: Mapping[str, Any]
    sets: Mapping[str, Any]
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """Which real set the protocol compares with."""
        return str(self.protocol["settings"]["dataset"])

    def of(self, metric: str) -> Measurement | None:
        """The measurement of that metric, or None."""
        return next((m for m in self.measurements if m.metric == metric), None)

    @property
    def missing(self) -> list[Measurement]:
        """What was skipped for want of weights."""
        return [m for m in self.measurements if m.missing_weights]

    def save(self, path: str | Path) -> None:
        """Write it as json, whole or not at all. A skipped metric gets no `value`.

        Raises:
            UserError: the place cannot be written.
        """
        content = {"format": FORMAT, **asdict(self)}
        empty = asdict(Measurement("", "", ""))  # a value of 0 is a number and stays
        content["measurements"] = [
            {k: v for k, v in m.items() if v != empty[k]} for m in content["measurements"]
        ]
        write_atomically(path, to_json(content))

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read what `save` wrote.

        Raises:
            UserError: no such file, another form, or a protocol that does not match its hash.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"There is no result '{path}': make it with the score command."
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"'{path}' is not json that can be read: score again.") from error
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"'{path}' is no result of this version's score command: score again.")
        try:
            measurements = tuple(Measurement(**m) for m in content.pop("measurements"))
            content["warnings"] = tuple(content["warnings"])
            result = cls(measurements=measurements, **content)
            matches = settings_hash(result.protocol["settings"]) == result.protocol["hash"]
        except (KeyError, TypeError) as error:
            raise UserError(f"'{path}' is a damaged result ({error}): score again.") from error
        if not matches:
            raise UserError(f"The protocol in '{path}' does not have its hash: score again.")
        return result


def incomparable(results: Sequence[Result]) -> list[str]:
    """What keeps results from standing in one column: fields that differ from the first result's.

    Protocols, prompts, numbers of videos and weights all move numbers, so all of them must agree.
    """
    fields: list[str] = []
    for other in results[1:]:
        fields += differences(_conditions(results[0], other), _conditions(other, results[0]))
    return list(dict.fromkeys(fields))


def _conditions(result: Result, other: Result) -> dict[str, Any]:
    """What must agree; prompts and weights, of those that both have."""
    shared = {m.metric for m in other.measurements if m.status == MEASURED}
    measured = [m for m in result.measurements if m.status == MEASURED and m.metric in shared]
    prompts = [one.sets["fake"].get("prompts_sha256") for one in (result, other)]
    return {
        **result.protocol["settings"],
        "prompts": prompts[0] if all(prompts) else None,
        "real videos": result.sets["real"]["used"],
        "generated videos": result.sets["fake"]["used"],
        "weights": {m.metric: dict(m.weights) for m in measured},
    }
