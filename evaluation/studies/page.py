"""The static page: claims first, then every variant, the figures, and how it was done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import markdown
from markupsafe import Markup

from evaluation.shapes.metrics_table import METRICS
from evaluation.studies import figures
from evaluation.studies.findings import (
    CONTRADICTED,
    NOT_TESTED,
    REPRODUCED,
    UNDECIDED,
    Finding,
    amount,
    metric_title,
    p_text,
)
from evaluation.studies.grid import Grid
from evaluation.studies.pictures import SideBySide, save
from evaluation.studies.protocol import protocol_rows
from evaluation.studies.ranking import Goal, Ranking, arm
from evaluation.studies.study import BASE, Heading, Section
from lightning_artv.media.atomic import write_atomically
from lightning_artv.pages.page import write_page as write_template
from lightning_artv.pages.table import EMPTY, Table

ANALYSIS = "analysis.md"
CLIP_BYTES = 900_000
VERDICTS = (REPRODUCED, CONTRADICTED, UNDECIDED, NOT_TESTED)
TABLE_METRICS = (
    *(
        "lasts",
        "identity",
        "background_psnr@15",
        "background_psnr@127",
        "drift_background_psnr",
        "psnr@127",
    ),
    *("direction@16", "direction@128", "speed@16", "color@128", "shape@128"),
    *("FVD", "FVD@128", "IS", "KVD", "drift_contrast", "drift_saturation"),
)
BARS_NOTE = "Bars: mean over the seeds; whisker: ± one standard deviation; dots: seeds."


@dataclass(frozen=True)
class Shown:
    """What follows from a grid, for a page.

    Attributes:
        found: findings of all claims.
        forms: the ranked variants by each metric.
        goal: what the best variant reaches; None where nothing was measured that far.
        clips: clips side by side; None where none were kept.
    """

    found: Sequence[Finding]
    forms: Sequence[Ranking]
    goal: Goal | None
    clips: SideBySide | None

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        told = [f.sentence() for f in self.found] + [form.sentence() for form in self.forms]
        return told + ([self.goal.sentence()] if self.goal else [])


def write_page(grid: Grid, shown: Shown, folder: Path, machine: str | None = None) -> None:
    """Write `index.html` and its pictures; `analysis.md` in the folder is shown where it is there.

    Args:
        grid: what was measured.
        shown: what follows from it.
        folder: folder of the page.
        machine: machine on which it ran, in words; None to say nothing.

    Raises:
        UserError: the folder cannot be written.
    """
    found, clips = shown.found, shown.clips
    decide = [f.verdict for f in found if f.primary]
    counts = {verdict: decide.count(verdict) for verdict in VERDICTS}
    write_template(
        folder / "index.html",
        Path(__file__).with_name("page.html"),
        title=grid.study.title,
        study=grid.study,
        grid=grid,
        found=found,
        claims={f.claim: [g for g in found if g.claim == f.claim] for f in found},
        tally=", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count),
        goal=shown.goal,
        forms=[(ranking, *_tables(ranking)) for ranking in shown.forms if ranking.order],
        analysis=_analysis(folder / ANALYSIS),
        variants=_variants(grid),
        drift=figures.drift_curves(grid) | figures.window_curves(grid),
        sections=[*_sections(grid), *grid.study.sections(grid, folder)],
        clips=clips,
        frames=clips and _write_clips(clips, folder),
        protocol=Table(("", ""), protocol_rows(grid, machine), left=2),
        upper=_upper,
        tests=_tests,
        metric_title=metric_title,
    )


def _sections(grid: Grid) -> list[Section]:
    """Bars of all variants, then the sweeps by heading; those with scalars also where none ran."""
    axes = grid.study.axes
    swept: dict[Heading, dict[str, figures.Chart]] = {
        axis.heading: {} for axis in axes.values() if axis.scalars
    }
    for sweep, charts in figures.sweep_charts(grid).items():
        if charts:
            swept.setdefault(axes[sweep].heading, {}).update(charts)
    bars = Section(grid.study.bars, BARS_NOTE, figures.bar_charts(grid))
    return [bars, *(Section(heading, "", charts) for heading, charts in swept.items())]


def _tests(f: Finding) -> list[str]:
    """The difference, its interval, the effect, and what the three tests say."""
    effect = "–" if f.effect is None else "∞" if math.isinf(f.effect) else f"{f.effect:.1f}"
    difference = amount(f.metric, f.difference, beside=f.better.mean) if f.differences else "–"
    p_values = [p_text(p) for p in (f.p_seeds, f.p_holm, f.p_clips)]
    tests = (p.removeprefix("p ").removeprefix("= ") for p in p_values)
    return [difference, f.interval_text(), effect, *tests]


def _tables(forms: Ranking) -> tuple[Table, Table]:
    """The forms in order, and every two of them."""
    order = [(a.name, a.text(forms.metric)) for a in forms.order]
    pairs = [
        (
            f.claim,
            amount(f.metric, f.difference),
            *(p_text(p) for p in (f.p_seeds, f.p_holm, f.p_clips)),
        )
        for f in forms.pairs
    ]
    head = ("pair", "difference", "p, seeds", "Holm", "p, clips")
    return Table(("form", metric_title(forms.metric)), order), Table(head, pairs)


def _analysis(path: Path) -> Markup:
    """The hand-written part; the file is our own, so its HTML is let through."""
    if not path.is_file():
        return Markup("")
    text = path.read_text(encoding="utf-8")
    return Markup(markdown.markdown(text, extensions=["tables"]))


def _variants(grid: Grid) -> Table:
    shown = [m for m in TABLE_METRICS if any(arm(grid, v, m).values for v in grid.variants)]
    head = ["variant", "seeds"]
    head += [f"{metric_title(m)} {'↑' if METRICS[m].higher_is_better else '↓'}" for m in shown]
    rows = [
        [
            grid.titles[v] + (" (base)" if v == BASE else ""),
            str(len(runs)),
            *(arm(grid, v, m).text(m) for m in shown),
        ]
        for v, runs in grid.variants.items()
    ]
    run = figures.any_run(grid)
    for name, other in {**run.baselines, "the true videos": run.truth}.items():
        reach = [amount(m, other.metrics[m]) if m in other.metrics else EMPTY for m in shown]
        rows.append([name, EMPTY, *reach])
    return Table(head, rows)


def _write_clips(clips: SideBySide, folder: Path) -> int:
    """Write the clips, and say how many frames of it are light enough to be animated."""
    for frames in (64, 32, 16, 8):
        gif = clips.gif(frames)
        if len(gif) <= CLIP_BYTES:
            break
    write_atomically(folder / "clips.gif", gif)
    save(folder / "frames.png", clips.strip())
    return frames


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
