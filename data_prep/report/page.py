"""The page: totals, histograms with the thresholds, examples, errors, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.report.examples import Example, examples
from data_prep.shards.accounts import totals
from data_prep.tables import TableReader, made_by
from data_prep.tables.log import read_log
from lightning_artv.pages.chart import ALL, BOUND, KEPT, Chart, histogram
from lightning_artv.pages.page import write_page
from lightning_artv.pages.table import Table

SCORES = {
    "motion": "motion (content score)",
    "clip_score": "CLIP score",
    "brightness": "brightness",
    "sharpness": "sharpness",
    "black_share": "share of black frames",
    "frozen_share": "share of frozen frames",
    "watermark": "watermark suspicion",
    "aesthetic": "aesthetic score (source)",
    "duration": "duration, s",
    "fps": "frames per second",
    "width": "width, pixels",
    "height": "height, pixels",
}

STEPS = ("motion.parquet", "clip.parquet", "selected.parquet", "shards/train", "shards/held_out")
_KEPT_EXAMPLES, _DROPPED_EXAMPLES = 12, 6


def write_report(folder: Path) -> Path:
    """Write `report.html` into a folder that `run` wrote.

    Returns:
        the page.

    Raises:
        UserError: the folder lacks `selected.parquet` or `shards/videos.parquet`.
    """
    selection, accounts = folder / "selected.parquet", folder / "shards" / "videos.parquet"
    outcomes = totals(accounts)
    counts = {outcome: sum(reasons.values()) for outcome, reasons in outcomes.items()}
    reader = TableReader(selection)
    codes, reasons = _reasons(reader)
    kept = np.flatnonzero(codes == 0).tolist()
    name, page = folder.resolve().name, folder / "report.html"
    write_page(
        page,
        Path(__file__).with_name("page.html"),
        title=f"{name}: data preparation",
        name=name,
        total=sum(counts.values()),
        counts=counts,
        why=_why(outcomes),
        marks={ALL: "all videos", KEPT: "kept"},
        bound=BOUND,
        histograms=_histograms(reader, codes == 0, made_by(selection)["options"]),
        kept=examples(reader, kept, _KEPT_EXAMPLES),
        dropped=list(_dropped(reader, codes, reasons)),
        failures=Table(("kind", "videos"), _most_common(outcomes["failed"])),
        throughput=_throughput(folder),
    )
    return page


def _reasons(reader: TableReader) -> tuple[NDArray[np.int64], list[str]]:
    """Each row's index into the reasons, of which the first, empty one is "kept"."""
    table = TableReader(reader.path, ["decision", "reason"])
    known = {"": 0}
    codes = []
    for number in range(table.groups):
        words = table.group(number)["reason"].combine_chunks().fill_null("").dictionary_encode()
        lookup = [known.setdefault(word, len(known)) for word in words.dictionary.to_pylist()]
        codes.append(np.asarray(lookup, np.int64)[words.indices.to_numpy()])
    return np.concatenate(codes or [np.zeros(0, np.int64)]), list(known)


def _why(outcomes: dict[str, Counter[str]]) -> Table:
    rows = [
        (outcome, *row)
        for outcome in ("filtered", "failed")
        for row in _most_common(outcomes[outcome])
    ]
    return Table(("", "why", "videos"), rows, left=2)


def _most_common(reasons: Counter[str]) -> list[tuple[str, str]]:
    return [(reason, f"{count:,}") for reason, count in reasons.most_common()]


def _histograms(
    reader: TableReader, kept: NDArray[np.bool_], options: dict[str, object]
) -> list[Chart]:
    filters = options["filters"]
    assert isinstance(filters, dict)
    windows = {"motion": options["motion"] or (None, None), **filters}
    charts = []
    for name in [*SCORES, *(name for name in filters if name not in SCORES)]:
        if name in reader.schema.names:
            low, high = windows.get(name, (None, None))
            chart = histogram(SCORES.get(name, name), _values(reader, name), kept, (low, high))
            charts += [chart] if chart else []
    return charts


def _values(reader: TableReader, name: str) -> NDArray[np.float64]:
    table = TableReader(reader.path, [name])
    parts = [table.group(n)[name].cast(pa.float64()).to_numpy() for n in range(table.groups)]
    return np.concatenate(parts or [np.zeros(0)])


def _dropped(
    reader: TableReader, codes: NDArray[np.int64], reasons: Sequence[str]
) -> Iterable[tuple[str, int, list[Example]]]:
    """Each reason, how many videos it dropped, and some of them."""
    for code, reason in enumerate(reasons):
        numbers = np.flatnonzero(codes == code)
        if code and len(numbers):
            yield reason, len(numbers), examples(reader, numbers.tolist(), _DROPPED_EXAMPLES)


def _throughput(folder: Path) -> Table:
    rows = []
    for output in STEPS:
        sessions = read_log(folder / output)
        if sessions:
            count = sum(session["count"] for session in sessions)
            seconds = sum(session["seconds"] for session in sessions)
            who = ", ".join(dict.fromkeys(f"{s['engine']} × {s['processes']}" for s in sessions))
            rate = f"{count / seconds:,.2f}" if seconds else ""
            rows.append((output, who, f"{count:,}", f"{seconds:,.1f}", rate))
    return Table(("", "engine", "videos", "seconds", "videos/s"), rows, left=2)
