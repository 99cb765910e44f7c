"""The static page: claims first, then every variant, the figures, and how it was done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import markdown
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.ablations import figures
from evaluation.ablations.arms import Arm, Finding, amount, metric_title, p_text
from evaluation.ablations.charts import Chart
from evaluation.ablations.pictures import SideBySide, mask_pictures
from evaluation.ablations.plan import BASE
from evaluation.ablations.protocol import protocol_rows
from evaluation.ablations.ranking import Goal, Ranking, arm
from evaluation.ablations.reading import Grid
from evaluation.ablations.style import STYLE
from evaluation.shapes.metrics_table import METRICS
from lightning_artv.media.atomic import atomic_path, write_atomically, writing_to
from lightning_artv.pages.table import EMPTY, Table

TITLE = "ART•V: ablations and drift"
ANALYSIS = "analysis.md"
CLIP_BYTES = 900_000
TABLE_METRICS = (
    *("background_psnr@15", "background_psnr@127", "drift_background_psnr", "psnr@127"),
    *("direction@16", "direction@128", "speed@16", "color@128", "shape@128"),
    *("FVD", "FVD@128", "IS", "KVD", "drift_contrast", "drift_saturation"),
)


def write_page(
    grid: Grid,
    found: Sequence[Finding],
    forms: Sequence[Ranking],
    goal: Goal | None,
    clips: SideBySide | None,
    folder: Path,
    machine: str | None = None,
) -> None:
    """Write `index.html` and its pictures; `analysis.md` in the folder is shown where it is there.

    Args:
        grid: what was measured.
        found, forms, goal: what follows from it.
        clips: for Fig. 10.
        folder: of the page.
        machine: on which it ran, in words; None to say nothing.

    Raises:
        UserError: the folder cannot be written.
    """
    body = [
        f"<h1>{TITLE}</h1>",
        _lead(grid, found, goal),
        "<h2 id=claims>Claims</h2>",
        _claims(found),
        "<h3>Which form of the static noise wins</h3>",
        *(_forms(ranking) for ranking in forms),
        _analysis(folder / ANALYSIS),
        "<h2 id=variants>Variants</h2>",
        _variants(grid),
        "<h2 id=drift>Drift</h2>",
        "<p>Means over the held-out clips by frame; bands: ± one standard deviation over the "
        "seeds.</p>",
        _charts(figures.drift_curves(grid)),
        "<h2 id=fig10>The same clips, the same noise (the paper's Fig. 10)</h2>",
        _clips(clips, folder),
        "<h2 id=fig8a>Without mask, anchor, noise augmentation (Fig. 8a)</h2>",
        "<p>Bars: mean over the seeds; whisker: ± one standard deviation; dots: seeds.</p>",
        _charts(figures.bar_charts(grid)),
        *_sweeps(grid),
        "<h2 id=fig4>Mask values by denoising step (Fig. 4)</h2>",
        "<p>Blue: how often each value occurs (darker: more often); red: the mean. 1 copies the "
        "frame before, 0 draws. What a mask of 1 copies depends on the form of the static noise: "
        "see <code>docs/method.md</code>.</p>",
        _charts(figures.mask_charts(grid)),
        "<h2 id=fig9>Masks (Fig. 9)</h2>",
        _masks(grid, folder),
        "<h2 id=protocol>How this was measured</h2>",
        _wide(Table(("", ""), protocol_rows(grid, machine), left=2).__html__()),
        _missing(grid),
    ]
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style></head>\n<body>{''.join(body)}</body></html>\n"
    )
    write_atomically(folder / "index.html", html.encode())


def _lead(grid: Grid, found: Sequence[Finding], goal: Goal | None) -> str:
    """What was done, in two lines, and how many claims hold."""
    counts = {verdict: [f.verdict for f in found].count(verdict) for verdict in VERDICTS}
    tally = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    seeds = ", ".join(str(seed) for seed in grid.plan["seeds"])
    claims = len({f.claim for f in found})
    summary = (
        f"{len(grid.variants)} variants of a small ART•V, each trained for {grid.plan['steps']} "
        f"steps with the seeds {seeds} on moving shapes whose truth is known for every frame, and "
        f"measured on held-out ones. Of {len(found)} tests of {claims} claims: {tally}."
    )
    reached = "Nothing was measured as far as frame 127." if goal is None else goal.sentence()
    state = "" if goal is None else " good" if goal.reached else " bad"
    return f'<p>{escape(summary)}</p><p class="goal{state}">{escape(reached)}</p>'


VERDICTS = ("reproduced", "not reproduced", "contradicted", "not tested")


def _claims(found: Sequence[Finding]) -> str:
    head = (
        "<tr><th class=text>claim<th class=text>verdict<th class=text>measured by<th>better arm"
        "<th>other arm<th>difference<th>d<th>p, seeds<th>Holm<th>p, clips</tr>"
    )
    rows = []
    for index, f in enumerate(found):
        again = index > 0 and found[index - 1].claim == f.claim
        claim = "" if again else f"{escape(_upper(f.claim))} <small>{escape(f.source)}</small>"
        cells = [
            _arm(f.better, f.metric),
            _arm(f.worse, f.metric),
            escape(amount(f.metric, f.difference, beside=f.better.mean)) if f.differences else "–",
            _effect(f.effect),
            *(
                p_text(p).removeprefix("p ").removeprefix("= ")
                for p in (f.p_seeds, f.p_holm, f.p_clips)
            ),
        ]
        rows.append(
            f"<tr{'' if again else ' class=first'}><td class=text>{claim}"
            f'<td class=text><span class="verdict {f.verdict.replace(" ", "-")}">{f.verdict}'
            f"</span><td class=text>{escape(metric_title(f.metric))}"
            f"{''.join(f'<td>{cell}' for cell in cells)}</tr>"
        )
    claims = dict.fromkeys(f.claim for f in found)
    sentences = "".join(
        f"<li><b>{escape(_upper(claim))}.</b> "
        f"{escape(' '.join(f.sentence(alone=False) for f in found if f.claim == claim))}</li>"
        for claim in claims
    )
    table = f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
    return (
        f"{_wide(table)}"
        "<p class=note>Mean ± standard deviation over the seeds. The difference is positive where "
        "the claim holds, and d is its mean over its standard deviation. The verdict rests on the "
        "two-sided paired t test over seeds at p &lt; 0.05; with three seeds it has two degrees of "
        "freedom and finds only large effects. “Holm” corrects it for the number of tests. The "
        "test over clips (sign flips; differences averaged over the seeds) speaks of these "
        "trained models only.</p>"
        f"<details open><summary>In plain words</summary><ul>{sentences}</ul></details>"
    )


def _arm(side: Arm, metric: str) -> str:
    if not side.values:
        return "–"
    return f"{escape(side.text(metric))}<br><small>{escape(side.name)}</small>"


def _effect(effect: float | None) -> str:
    if effect is None:
        return "–"
    return "∞" if math.isinf(effect) else f"{effect:.1f}"


def _forms(forms: Ranking) -> str:
    if not forms.order:
        return ""
    place = metric_title(forms.metric)
    order = Table(("form", place), [(a.name, a.text(forms.metric)) for a in forms.order]).__html__()
    pairs = Table(
        ("pair", "difference", "p, seeds", "Holm", "p, clips"),
        [
            (
                f.claim,
                amount(f.metric, f.difference),
                *(p_text(p) for p in (f.p_seeds, f.p_holm, f.p_clips)),
            )
            for f in forms.pairs
        ],
    ).__html__()
    return f'<p>{escape(forms.sentence())}</p><div class="pair">{_wide(order)}{_wide(pairs)}</div>'


def _analysis(path: Path) -> str:
    """The hand-written part; the file is our own, so its HTML is let through."""
    if not path.is_file():
        return ""
    text = markdown.markdown(path.read_text(encoding="utf-8"), extensions=["tables"])
    return f"<h2 id=analysis>Why: an analysis</h2>{text}"


def _variants(grid: Grid) -> str:
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
    return (
        f"{_wide(Table(head, rows).__html__())}<p class=note>The last rows take no model. "
        "A variant that is no better than them in a column has not shown anything there.</p>"
    )


def _charts(charts: Mapping[str, Chart]) -> str:
    if not charts:
        return "<p>Nothing was measured.</p>"
    cells = "".join(f"<figure>{chart.svg()}</figure>" for chart in charts.values())
    return f'<div class="charts">{cells}</div>'


def _sweeps(grid: Grid) -> list[str]:
    charts = figures.sweep_charts(grid)
    noise = {name: chart for name, chart in charts.items() if name.startswith("fig8b/")}
    parts = ["<h2 id=fig8b>Noise level at test time (Fig. 8b)</h2>", _charts(noise)]
    rest = {name: chart for name, chart in charts.items() if name not in noise}
    if rest:
        parts += ["<h2 id=guidance>Guidance</h2>", _charts(rest)]
    return parts


def _clips(clips: SideBySide | None, folder: Path) -> str:
    if clips is None:
        return "<p>No clips were kept.</p>"
    for frames in (64, 32, 16, 8):
        gif = clips.gif(frames)
        if len(gif) <= CLIP_BYTES:
            break
    write_atomically(folder / "clips.gif", gif)
    _save(folder / "frames.png", clips.strip())
    names = "".join(f"<span>{escape(name)}</span>" for name in clips.names)
    return (
        f"<p>Trained with seed {clips.seed}. Every row has the same first frames, captions and "
        f"noise; {len(clips.rows[0])} frames, of which the animation shows {frames}.</p>"
        f'<div class="clips"><div class="rows">{names}</div>'
        '<img src="clips.gif" alt="the same clips by every variant"></div>'
        "<p>The first clip at frames "
        f"{', '.join(str(f) for f in clips.strip_frames)}:</p>"
        f'<div class="clips strip"><div class="rows">{names}</div>'
        '<img src="frames.png" alt="frames of the first clip by every variant"></div>'
    )


def _masks(grid: Grid, folder: Path) -> str:
    parts = []
    for variant, picture in mask_pictures(grid).items():
        name = f"masks_{variant}.png"
        _save(folder / name, picture)
        parts.append(
            f'<figure><img class="pixels" src="{name}" alt="masks of {escape(variant)}">'
            f"<figcaption>{escape(grid.titles[variant])}</figcaption></figure>"
        )
    if not parts:
        return "<p>No masks were kept.</p>"
    note = (
        "<p>The masks of frame 4, a row a clip, from the first denoising step (left) to the last; "
        "white copies the frame before, black draws.</p>"
    )
    return f'{note}<div class="charts">{"".join(parts)}</div>'


def _missing(grid: Grid) -> str:
    if not grid.missing:
        return ""
    items = "".join(f"<li><code>{escape(path)}</code></li>" for path in grid.missing)
    return (
        f"<details><summary>{len(grid.missing)} results are missing</summary><ul>{items}</ul>"
        "</details>"
    )


def _save(path: Path, picture: NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary, writing_to(path):
        Image.fromarray(picture).save(temporary, "PNG", optimize=True)


def _wide(html: str) -> str:
    return f'<div class="wide">{html}</div>'


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
