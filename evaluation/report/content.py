"""What a report says: Table 1, each result in full, the protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.compare import ROWS, check_comparable, title, under
from evaluation.report.blocks import Block, Figure, Heading, Note, Warnings
from evaluation.report.cells import digits, number
from evaluation.report.papers import paper_tables
from evaluation.report.published import PublishedTable
from evaluation.result import DIRECTIONS, LABELS, Measurement, Result
from lightning_artv.pages.chart import Line, curves
from lightning_artv.pages.table import EMPTY, Table

TITLE = "Evaluation"
TABLE1_COLUMNS = (("ucf101", "fvd"), ("ucf101", "is"), ("msrvtt", "fvd"), ("msrvtt", "clipsim"))
TABLE1_HEAD = (
    "Method",
    "Training data",
    "UCF-101 FVD ↓",
    "UCF-101 IS ↑",
    "MSR-VTT FVD ↓",
    "MSR-VTT CLIPSIM ↑",
)


def content(
    results: Sequence[Result],
    published: PublishedTable,
    skipped: Mapping[str, str],
    pictures: Mapping[str, str],
) -> list[Block]:
    """The report's parts.

    Args:
        results: measured here; those of one real set have one protocol.
        published: the paper's table.
        skipped: row -> why there is no result for it.
        pictures: `key(result)` -> address of a picture of generated videos.

    Raises:
        UserError: results of one real set that do not compare.
    """
    for dataset in dict.fromkeys(result.dataset for result in results):
        check_comparable([result for result in results if result.dataset == dataset])
    blocks: list[Block] = [Heading(1, TITLE), *table1(results, published, skipped)]
    blocks += paper_tables(results)
    for result in results:
        blocks += _details(result, pictures.get(key(result), ""))
    for protocol in {result.protocol["hash"]: result.protocol for result in results}.values():
        blocks += _protocol(protocol)
    versions = {f"{k} {v}" for result in results for k, v in result.versions.items()}
    return [*blocks, Heading(2, "Versions"), Note(", ".join(sorted(versions)) + ".")]


def key(result: Result) -> str:
    """A result's heading."""
    return f"{title(result)}, {result.protocol['name']}"


def table1(
    results: Sequence[Result], published: PublishedTable, skipped: Mapping[str, str]
) -> list[Block]:
    """The paper's rows, marked as published, and below them what was measured here."""
    rows = [
        (
            f"{row.method}{'' if row.msrvtt_zero_shot else ' †'}",
            row.data,
            *(_printed(value, 2) for value in (row.ucf101_fvd, row.ucf101_is, row.msrvtt_fvd)),
            _printed(row.msrvtt_clipsim, 4),
        )
        for row in published.rows
    ]
    sections = {0: f"Published: {published.source}", len(rows): _measured_under(results)}
    models = dict.fromkeys(title(result) for result in results)
    measured = [_measured_row(model, results) for model in models]
    measured += [(model, EMPTY, *["skipped"] * len(TABLE1_COLUMNS)) for model in skipped]
    if skipped:
        measured.sort(key=lambda row: _mode_order(row[0]))
    notes = [Note(text) for text in (*published.notes, "† was trained on MSR-VTT.")]
    warnings = [f"{model}: skipped. {reason}" for model, reason in skipped.items()]
    table = Table(TABLE1_HEAD, (*rows, *measured), sections, left=2)
    return [Heading(2, "Table 1"), table, *([Warnings(warnings)] if warnings else []), *notes]


def _printed(value: float | None, places: int) -> str:
    return EMPTY if value is None else f"{value:.{places}f}"


def _measured_under(results: Sequence[Result]) -> str:
    """The heading above measured rows: without its protocol a number is worthless."""
    return "; ".join(["Measured here", *dict.fromkeys(under(result) for result in results)])


def _mode_order(row: str) -> int:
    """Table 1's order of the first frames' sources."""
    endings = [form.format("") for form in ROWS.values()]
    return next((i for i, ending in enumerate(endings) if row.endswith(ending)), 0)


def _measured_row(model: str, results: Sequence[Result]) -> tuple[str, ...]:
    own = {result.dataset: result for result in results if title(result) == model}
    cells = [
        _cell(own[dataset].of(metric) if dataset in own else None)
        for dataset, metric in TABLE1_COLUMNS
    ]
    return (model, EMPTY, *cells)


def _cell(measurement: Measurement | None) -> str:
    """A number under a column's name; another name (random weights) is said in the cell."""
    text = number(measurement)
    if measurement is None or measurement.label == LABELS[measurement.metric]:
        return text
    return f"{measurement.label} {text}"


def _details(result: Result, picture: str) -> list[Block]:
    blocks: list[Block] = [Heading(2, key(result))]
    if picture:
        blocks.append(Figure("The first generated videos.", picture=picture))
    blocks.append(_numbers(result))
    if sds := _sds(result.measurements):
        blocks.append(Note(f"Standard deviations: {sds}."))
    if warnings := _warnings(result):
        blocks.append(Warnings(warnings))
    drift = result.of("drift")
    if drift is not None and drift.curve:
        frames = list(range(len(next(iter(drift.curve.values())))))
        lines = {name: Line(values) for name, values in drift.curve.items()}
        chart = curves("change against the first frames", frames, lines, "frame")
        blocks.append(Figure("Means over the videos, in units of the full range.", chart))
    return blocks


def summary(result: Result) -> str:
    """A result for a terminal: its numbers, its protocol, what was skipped, its warnings."""
    warnings = "".join(f"warning: {sentence}\n" for sentence in _warnings(result))
    return f"{_numbers(result).markdown()}\nProtocol {under(result)}.\n{warnings}"


def _numbers(result: Result) -> Table:
    head = ("Metric", "Value", "sd", "N real", "N generated", "Network")
    return Table(head, [row for m in result.measurements for row in _rows(m)])


def _warnings(result: Result) -> list[str]:
    """What was skipped, and what a reader must know to judge the rest."""
    reasons = dict.fromkeys(m.reason for m in result.measurements if m.reason)
    skipped = [
        f"{', '.join(m.label for m in result.measurements if m.reason == reason)}: skipped. "
        f"{reason}"
        for reason in reasons
    ]
    return [*skipped, *result.warnings]


def _sds(measurements: Sequence[Measurement]) -> str:
    """What each standard deviation is over."""
    kinds = dict.fromkeys(m.sd_of for m in measurements if m.sd_of)
    return "; ".join(
        f"{kind} ({', '.join(m.label for m in measurements if m.sd_of == kind)})" for kind in kinds
    )


def _rows(m: Measurement) -> list[tuple[str, ...]]:
    """A measurement's row, and one for each further number."""
    name = f"{m.label} {DIRECTIONS[m.metric]}".strip()
    if m.value is None:
        return [(name, m.status, EMPTY, EMPTY, EMPTY, EMPTY)]
    sd = EMPTY if m.sd is None else digits(m.sd)
    unit = " frames" if m.metric == "fid" else ""
    real = f"{m.real}{unit}" if m.real else EMPTY
    network = m.features or "none"
    prefix = m.label[: -len(LABELS[m.metric])]
    more = [
        (
            f"{prefix}{'drift of ' if m.metric == 'drift' else ''}{other}",
            digits(value),
            digits(m.more[f"sd of {other}"]) if f"sd of {other}" in m.more else EMPTY,
            real,
            str(m.fake),
            network,
        )
        for other, value in m.more.items()
        if not other.startswith("sd of ")
    ]
    return [(name, digits(m.value), sd, real, f"{m.fake}{unit}", network), *more]


def _protocol(protocol: Mapping[str, Any]) -> list[Block]:
    """Every field that moves a number, and which of them were assumed."""
    assumed = protocol["assumed"]
    rows = [
        (name, _value(name, value), f"assumed: {assumed[name]}" if name in assumed else "")
        for name, value in protocol["settings"].items()
    ]
    return [
        Heading(2, f"Protocol {protocol['name']}"),
        Note(f"{protocol['source']}. Hash {protocol['hash']}."),
        Table(("Field", "Value", "Where the source is silent"), rows, left=3),
    ]


def _value(name: str, value: object) -> str:
    if value is None:
        return "as stored" if name == "fps" else "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
