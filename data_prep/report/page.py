"""The page: totals, histograms with the thresholds, examples, errors, throughput."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_prep.accounts import totals
from data_prep.log import read_log
from data_prep.report.examples import gallery
from data_prep.report.histogram import histogram
from data_prep.report.style import STYLE
from data_prep.tables import TableReader, made_by
from lightning_artv.media.atomic import write_atomically

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
    reader = TableReader(selection)
    codes, reasons = _reasons(reader)
    body = [
        f"<h1>{escape(folder.resolve().name)}</h1>",
        _summary(outcomes),
        _histograms(reader, codes == 0, made_by(selection)["options"]),
        "<h2>Kept</h2>",
        gallery(reader, np.flatnonzero(codes == 0).tolist(), _KEPT_EXAMPLES),
        *_dropped(reader, codes, reasons),
        _failures(outcomes["failed"]),
        _throughput(folder),
    ]
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{escape(folder.resolve().name)}: data preparation</title>"
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>"
    )
    page = folder / "report.html"
    write_atomically(page, html.encode())
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


def _summary(outcomes: dict[str, Counter[str]]) -> str:
    sums = {outcome: sum(reasons.values()) for outcome, reasons in outcomes.items()}
    total = sum(sums.values())
    cards = "".join(
        f'<div class="card {name}"><b>{count:,}</b>{name}<i>{count / max(total, 1):.1%}</i></div>'
        for name, count in sums.items()
    )
    bar = "".join(f'<i class="{n}" style="flex:{c}"></i>' for n, c in sums.items() if c)
    rows = [
        (outcome, reason, f"{count:,}")
        for outcome in ("filtered", "failed")
        for reason, count in outcomes[outcome].most_common()
    ]
    why = _table(("", "why", "videos"), rows) if rows else ""
    return (
        f'<p class="lead">{total:,} videos, each accounted for.</p><div class="cards">{cards}</div>'
        f'<div class="bar">{bar}</div>{why}'
    )


def _histograms(reader: TableReader, kept: NDArray[np.bool_], options: dict[str, object]) -> str:
    filters = options["filters"]
    assert isinstance(filters, dict)
    windows = {"motion": options["motion"] or (None, None), **filters}
    charts = []
    for name in [*SCORES, *(name for name in filters if name not in SCORES)]:
        if name in reader.schema.names:
            low, high = windows.get(name, (None, None))
            title = SCORES.get(name, name)
            charts.append(histogram(title, _values(reader, name), kept, (low, high)))
    return (
        '<h2>Scores</h2><p class="note"><i class="dot all"></i> all videos '
        '<i class="dot some"></i> kept <i class="dash"></i> threshold</p>'
        f'<div class="charts">{"".join(charts)}</div>'
    )


def _values(reader: TableReader, name: str) -> NDArray[np.float64]:
    table = TableReader(reader.path, [name])
    parts = [table.group(n)[name].cast(pa.float64()).to_numpy() for n in range(table.groups)]
    return np.concatenate(parts or [np.zeros(0)])


def _dropped(
    reader: TableReader, codes: NDArray[np.int64], reasons: Sequence[str]
) -> Iterable[str]:
    for code, reason in enumerate(reasons):
        numbers = np.flatnonzero(codes == code)
        if code and len(numbers):
            yield f"<h2>Dropped: {escape(reason)} <small>{len(numbers):,}</small></h2>"
            yield gallery(reader, numbers.tolist(), _DROPPED_EXAMPLES)


def _failures(failed: Counter[str]) -> str:
    if not failed:
        return "<h2>Errors</h2><p>None.</p>"
    rows = [(kind, f"{count:,}") for kind, count in failed.most_common()]
    return "<h2>Errors by kind</h2>" + _table(("kind", "videos"), rows)


def _throughput(folder: Path) -> str:
    outputs = ("motion.parquet", "clip.parquet", "selected.parquet", "shards/train")
    rows = []
    for output in (*outputs, "shards/held_out"):
        sessions = read_log(folder / output)
        if sessions:
            count = sum(session["count"] for session in sessions)
            seconds = sum(session["seconds"] for session in sessions)
            who = ", ".join(dict.fromkeys(f"{s['engine']} × {s['processes']}" for s in sessions))
            rate = f"{count / seconds:,.2f}" if seconds else ""
            rows.append((output, f"{count:,}", f"{seconds:,.1f}", rate, who))
    return "<h2>Throughput</h2>" + _table(("", "videos", "seconds", "videos/s", "engine"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table><tr>{top}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
