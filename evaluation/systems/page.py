"""The rows as tables, charts, a GIF and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.shapes.summary import Numbers
from evaluation.studies.pictures import FPS, SideBySide
from evaluation.studies.significance import paired_t
from evaluation.systems.measures import CHANCE, FRAMES, GIVEN, JOINS, SHORT, WORDS
from lightning_artv.media import gif_bytes, grid
from lightning_artv.media.atomic import write_atomically
from lightning_artv.pages.page import inline
from lightning_artv.pages.page import write_page as fill
from lightning_artv.pages.table import EMPTY, Table
from lightning_artv.synthetic.drawing import Image

Rows = Mapping[str, Mapping[str, Any]]

_JOIN_TITLES = ("jump", "place kept", "direction kept", "colour kept", "backwards", "again")
_FAR = {
    "far_psnr": "PSNR of the last frame, dB",
    "far_alive": "shape is there, last 8 frames",
    "far_in_place": "in its place",
    "far_direction": "direction",
}
_COST = {
    "parameters": ("parameters", 1e-6, "{:.2f} M"),
    "seconds": ("CPU seconds a frame", 1, "{:.3f}"),
    "flops": ("GFLOP a frame", 1e-9, "{:.2f}"),
    "memory_mb": ("peak memory, MB", 1, "{:.0f}"),
}
_TRAINING = {
    "steps": ("steps", 1, "{:,.0f}"),
    "samples": ("samples", 1, "{:,.0f}"),
    "flops": ("training, PFLOP", 1e-15, "{:.3f}"),
}


def tables(rows: Rows) -> dict[str, Table]:
    """Title -> table."""
    psnrs = {f"psnr@{k}": f"PSNR, frame {k}, dB" for k in FRAMES}
    psnrs[f"background_psnr@{SHORT - 1}"] = f"background PSNR, frame {SHORT - 1}, dB"
    made = {
        "First frame and caption given": _means(rows, psnrs | {word: word for word in GIVEN}),
        "From captions alone": _means(rows, {f"alone_{word}": word for word in WORDS}),
        "Long videos": _means(rows, _FAR),
        "Joins of the long videos, first frame given": _means(rows, _joins("given")),
        "Joins of videos from captions alone": _means(rows, _joins("alone")),
        "Joins from captions alone: differences of ways to join": _differences(rows),
        "What it costs": _costs(rows),
    }
    return {title: table for title, table in made.items() if table.rows}


def write_page(out: Path, rows: Rows, shown: Mapping[str, Sequence[Image]]) -> None:
    """Write `comparison.gif`, `tables.md` and `index.html`.

    Args:
        out: folder for them.
        rows: name -> what was measured.
        shown: name -> clips that begin alike, the truth first.
    """
    made = tables(rows)
    sheets = [
        grid(torch.from_numpy(np.stack([clip[:SHORT] for clip in clips])), len(clips)).numpy()
        for clips in shown.values()
    ]
    sheet = SideBySide(tuple(shown), tuple(sheets), 0).sheet(SHORT, labels=True, scale=2)
    gif = gif_bytes(sheet, FPS)
    write_atomically(out / "comparison.gif", gif)
    text = "\n".join(f"## {title}\n\n{table.markdown()}" for title, table in made.items())
    write_atomically(out / "tables.md", text.encode())
    fill(
        out / "index.html",
        Path(__file__).with_name("page.html"),
        title="Systems on the same moving shapes",
        tables=made,
        gif=inline(gif, "gif"),
        refused={name: row["refused"] for name, row in rows.items() if row.get("refused")},
    )


def _joins(prefix: str) -> dict[str, str]:
    return {f"{prefix}_{n}": title for n, title in zip(JOINS, _JOIN_TITLES, strict=True)}


def _means(rows: Rows, columns: Mapping[str, str]) -> Table:
    """A mean per system, with what the same videos show of other scenes in brackets."""
    cells = [(name, *(_mean(row["figures"], key) for key in columns)) for name, row in rows.items()]
    kept = [row for row in cells if set(row[1:]) != {EMPTY}]
    return Table(("", *columns.values()), kept)


def _mean(figures: Mapping[str, Numbers], key: str) -> str:
    known = _known(figures.get(key, []))
    if not known:
        return EMPTY
    if "psnr" in key:
        return f"{np.mean(known):.1f}"
    if key.endswith("jump"):
        return f"{np.mean(known):.2f}"
    chance = _known(figures.get(key + CHANCE, []))
    return f"{np.mean(known):.0%}" + (f" ({np.mean(chance):.0%})" if chance else "")


def _known(values: Numbers) -> list[float]:
    return [value for value in values if value is not None]


def _differences(rows: Rows) -> Table:
    """Paired over captions, between rows of one checkpoint."""

    def pairs() -> Iterator[tuple[str, ...]]:
        trained = {name: row for name, row in rows.items() if "protocol" in row}
        for (one, a), (other, b) in combinations(trained.items(), 2):
            if a["protocol"]["checkpoint"] == b["protocol"]["checkpoint"]:
                keys = _joins("alone")
                cells = (_difference(a["figures"].get(k), b["figures"].get(k)) for k in keys)
                yield (f"{other}, less {one}", *cells)

    return Table(("", *_JOIN_TITLES), list(pairs()))


def _difference(one: Numbers | None, other: Numbers | None) -> str:
    both = [
        b - a
        for a, b in zip(one or (), other or (), strict=True)
        if a is not None and b is not None
    ]
    p = paired_t(both)
    return EMPTY if p is None else f"{np.mean(both):+.2f} (p {p:.1g}, n {len(both)})"


def _costs(rows: Rows) -> Table:
    def cells(found: Mapping[str, float] | None, columns: Mapping[str, Any]) -> Iterator[str]:
        for key, (_, scale, form) in columns.items():
            yield EMPTY if found is None else form.format(scale * found[key])

    head = [title for title, *_ in (*_COST.values(), *_TRAINING.values())]
    measured = {name: row for name, row in rows.items() if "cost" in row}
    return Table(
        ("", *head),
        [
            (name, *cells(row["cost"], _COST), *cells(row["training"], _TRAINING))
            for name, row in measured.items()
        ],
    )
