"""Results of several models in one table, if their numbers compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.report.cells import number
from evaluation.result import DIRECTIONS, Result, incomparable
from lightning_artv.errors import UserError
from lightning_artv.pages.table import Table


def compare(paths: Sequence[str | Path]) -> str:
    """A Markdown table of results.

    Raises:
        UserError: an unusable file, or results that do not compare; it names the fields.
    """
    results = [Result.load(path) for path in paths]
    check_comparable(results)
    metrics = list(dict.fromkeys(m.metric for result in results for m in result.measurements))
    measured = [m for result in results for m in result.measurements if m.value is not None]
    labels = {m.metric: m.label for m in measured}
    heads = [f"{labels.get(name, name.upper())} {DIRECTIONS[name]}".strip() for name in metrics]
    rows = [(title(result), *(number(result.of(name)) for name in metrics)) for result in results]
    table = Table(("", *heads), tuple(rows)).markdown()
    return f"{table}\nProtocol {under(results[0])}.\n{_storage_note(results)}"


def under(result: Result) -> str:
    """The protocol and the numbers of videos that a result was measured with."""
    real, fake = result.sets["real"]["used"], result.sets["fake"]["used"]
    protocol = result.protocol
    return f"{protocol['name']} ({protocol['hash'][:12]}), {real} real and {fake} generated videos"


def _storage_note(results: Sequence[Result]) -> str:
    """A warning where results are of videos that are stored differently."""
    stored = {title(r): ", ".join(r.sets["fake"].get("stored", {})) for r in results}
    if len(set(stored.values())) < 2:
        return ""
    each = "; ".join(f"{name}: {codecs or 'not known'}" for name, codecs in stored.items())
    return f"warning: The generated videos are stored differently ({each}), which moves numbers.\n"


def check_comparable(results: Sequence[Result]) -> None:
    """Raises:
    UserError: results that do not compare; it names the fields.
    """
    fields = incomparable(results)
    if fields:
        raise UserError(
            f"These results were measured differently and do not compare: {', '.join(fields)} "
            "differ; score them under one protocol."
        )


ROWS = {
    "none": "{} without image",
    "text-to-image": "{} + text-to-image frame",
    "true-frame": "{} + true first frame",
}
"""Names of Table 1's three rows, by the mode of generation."""


def row_name(name: str, mode: str) -> str:
    """A row of a table: the model, and where its first frames came from."""
    return ROWS.get(mode, "{}").format(name)


def title(result: Result) -> str:
    """A result's row."""
    return row_name(result.name, result.mode)
