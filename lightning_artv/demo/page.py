"""One offline HTML page with everything that the demo made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.pages.chart import Chart, Line, curves
from lightning_artv.pages.page import inline, write_page
from lightning_artv.pages.table import Table

SCALARS = {"train/loss": "training loss", "val/loss": "held-out loss (EMA)"}


def write(out: Path, system: str, painter: str) -> None:
    """Write `index.html` from `metrics.json`, the GIFs and the TensorBoard log in `out`.

    Args:
        out: the demo's folder.
        system: what was trained, as papers call it.
        painter: whose the first frames of captions are.
    """
    metrics = json.loads((out / "metrics.json").read_text())
    log = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    log.Reload()
    write_page(
        out / "index.html",
        Path(__file__).with_name("page.html"),
        title=f"{system} demo",
        system=system,
        painter=painter,
        metrics=metrics,
        new=metrics.get("new"),
        sizes=metrics["sizes"],
        shipped=inline((out / "shipped.gif").read_bytes(), "gif"),
        from_captions=inline((out / "from_captions.gif").read_bytes(), "gif"),
        others=[
            inline((out / f"other_{i}.gif").read_bytes(), "gif")
            for i in range(len(metrics["others"]))
        ],
        words=_words(metrics),
        **{name: inline((out / f"{name}.gif").read_bytes(), "gif") for name in _pair(metrics)},
        **_continued(out, metrics, system),
        scalars=_scalars(log),
        own=_own_figures(log),
        metrics_text=json.dumps(metrics, indent=1),
    )


def _pair(metrics: dict[str, Any]) -> tuple[str, ...]:
    """The pictures of a new word."""
    return ("before", "after") if "new" in metrics else ()


def _continued(out: Path, metrics: dict[str, Any], system: str) -> dict[str, Any]:
    """What is shown of clips that begin with a given first frame, if the system takes one."""
    if "psnr" not in metrics:
        return {"samples": None}
    return {
        "samples": inline((out / "samples.gif").read_bytes(), "gif"),
        "table": _table(metrics, system),
        "curves": _curves(metrics, system),
    }


def _words(metrics: dict[str, Any]) -> Table:
    """How often each word of a caption is right, with each way of generating."""
    ways = {"from the caption alone": metrics, **metrics["others"]}
    columns = [(title, way["from_caption"]) for title, way in ways.items()]
    columns.append(("against other captions", metrics["by_chance"]))
    names = list(metrics["from_caption"])
    rows = [
        (name.split("_")[0], *(f"{shares[name]:.0%}" for _, shares in columns)) for name in names
    ]
    return Table(("", *(title for title, _ in columns)), rows)


def _table(metrics: dict[str, Any], system: str) -> Table:
    last = len(metrics["psnr"])
    middle = min(8, last)
    sources = (metrics, metrics["baseline_repeat_first_frame"])
    rows = [
        (title, *(f"{source[key]:.1%}" for source in sources))
        for title, key in (
            ("motion direction right", "direction_accuracy"),
            ("colour right", "color_accuracy"),
        )
    ]
    rows += [
        (f"{title} at frame {frame}, dB", *(f"{source[key][frame - 1]:.1f}" for source in sources))
        for title, key, frame in (
            ("PSNR", "psnr", middle),
            ("background PSNR", "background_psnr", last),
        )
    ]
    return Table(("", system, "repeating the first frame"), rows)


def _curves(metrics: dict[str, Any], system: str) -> list[Chart]:
    copy = metrics["baseline_repeat_first_frame"]["background_psnr"]
    frames = range(1, len(copy) + 1)
    return [
        curves(title, frames, {system: Line(ours), "repeating": Line(still)}, "frame")
        for title, ours, still in (
            ("PSNR, dB", metrics["psnr"], metrics["psnr_copy"]),
            ("background PSNR, dB", metrics["background_psnr"], copy),
        )
    ]


def _scalars(log: EventAccumulator) -> list[Chart]:
    charts = []
    for tag, title in SCALARS.items():
        if tag in log.Tags()["scalars"]:
            events = log.Scalars(tag)
            line = {tag: Line([event.value for event in events])}
            charts.append(curves(title, [event.step for event in events], line, "step"))
    return charts


def _own_figures(log: EventAccumulator) -> dict[str, Any]:
    """What the last round of samples recorded besides them: pictures by their tags, and one chart
    for all scalars `group/name/<denoising step>`.
    """
    own: dict[str, Any] = {
        tag: inline(log.Images(tag)[-1].encoded_image_string, "png")
        for tag in log.Tags()["images"]
        if not tag.startswith("samples/")
    }
    lines: dict[str, dict[float, float]] = {}
    for tag in sorted(log.Tags()["scalars"]):
        family, _, step = tag.rpartition("/")
        if step.isdecimal():
            lines.setdefault(family, {})[float(step)] = log.Scalars(tag)[-1].value
    for family, line in lines.items():
        group, _, name = family.partition("/")
        shares = all(0 <= value <= 1 for value in line.values())
        own[family] = curves(
            f"{name} of the {group}",
            [*line],
            {name: Line([*line.values()])},
            "denoising step",
            limits=(0.0, 1.0) if shares else None,
        )
    return own
