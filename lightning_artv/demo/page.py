"""One offline HTML page with everything that the demo made."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_artv.demo.charts import line_chart
from lightning_artv.media.atomic import write_atomically

STYLE = """
body { font-family: system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem;
color: #222; } img { image-rendering: pixelated; max-width: 100%; border: 1px solid #ccc; }
table { border-collapse: collapse; } td, th { padding: .3rem .8rem; border-bottom: 1px solid #ddd;
text-align: right; }
td:first-child, th:first-child { text-align: left; } code { background: #f3f3f3; padding: 0 .2rem; }
ol { columns: 2; font-size: .85rem; } p.note { color: #555; }
"""


def write(out: Path) -> None:
    """Write `index.html` from `metrics.json`, the GIFs and the TensorBoard log in `out`."""
    metrics = json.loads((out / "metrics.json").read_text())
    log = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    log.Reload()
    body = [
        "<h1>ART•V demo: moving shapes</h1>",
        f"<p>{_sizes(metrics)}</p>",
        "<h2>From a held-out first frame and its caption</h2>",
        "<p class=note>Truth above, generated below; only the first frame is given.</p>",
        _picture((out / "samples.gif").read_bytes(), "gif"),
        f"<ol>{''.join(f'<li>{escape(c)}</li>' for c in metrics['captions_shown'])}</ol>",
        _table(metrics),
        _curves(metrics),
        "<h2>From the caption alone</h2>",
        "<p class=note>The same captions in the same order; the first frame is ART•V's own "
        "too.</p>",
        _picture((out / "from_captions.gif").read_bytes(), "gif"),
        "<h2>Training</h2>",
        _scalars(log),
        "<h2>The mask (paper Fig. 4 and 9)</h2>",
        _masks(log),
        "<h2>All figures</h2>",
        "<details><summary><code>metrics.json</code></summary>",
        f"<pre>{escape(json.dumps(metrics, indent=1))}</pre></details>",
    ]
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>ART•V demo</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>"
    )
    write_atomically(out / "index.html", html.encode())


def _sizes(metrics: dict[str, Any]) -> str:
    sizes, seconds = metrics["sizes"], metrics["seconds"]
    return (
        f"{sizes['parameters'] / 1e6:.1f} M parameters, trained on {sizes['train']} clips in "
        f"{seconds['training'] / 60:.1f} minutes, measured on {sizes['heldout']} held-out clips of "
        f"{sizes['frames']} frames at {sizes['height']}x{sizes['width']} pixels."
    )


def _table(metrics: dict[str, Any]) -> str:
    copy = metrics["baseline_repeat_first_frame"]
    caption = metrics["from_caption"]
    last = len(metrics["psnr"])
    middle = min(8, last)
    rows = [
        ("motion direction right", "direction_accuracy", None),
        ("colour right", "color_accuracy", None),
        (f"PSNR at frame {middle}, dB", "psnr", middle - 1),
        (f"background PSNR at frame {last}, dB", "background_psnr", last - 1),
    ]

    def cell(source: dict[str, Any], key: str, at: int | None) -> str:
        value = source[key] if at is None else source[key][at]
        return f"{value:.1%}" if at is None else f"{value:.1f}"

    html = "<table><tr><th></th><th>ART•V</th><th>repeating the first frame</th></tr>"
    for label, key, at in rows:
        cells = (label, cell(metrics, key, at), cell(copy, key, at))
        html += "<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>"
    words = ", ".join(f"{k.split('_')[0]} {v:.1%}" for k, v in caption.items())
    return f"{html}</table><p>From the caption alone: {words}.</p>"


def _curves(metrics: dict[str, Any]) -> str:
    frames = list(range(1, len(metrics["psnr"]) + 1))
    copy = metrics["baseline_repeat_first_frame"]["background_psnr"]
    whole = {"ART•V": metrics["psnr"], "repeating": metrics["psnr_copy"]}
    background = {"ART•V": metrics["background_psnr"], "repeating": copy}
    return line_chart("PSNR, dB", frames, whole, "frame") + line_chart(
        "background PSNR, dB", frames, background, "frame"
    )


def _scalars(log: EventAccumulator) -> str:
    wanted = {"train/loss": "training loss", "val/loss": "held-out loss (EMA)"}
    charts = []
    for tag, title in wanted.items():
        if tag in log.Tags()["scalars"]:
            events = log.Scalars(tag)
            charts.append(
                line_chart(
                    title, [e.step for e in events], {tag: [e.value for e in events]}, "step"
                )
            )
    return "".join(charts) or "<p>No scalars were logged.</p>"


def _masks(log: EventAccumulator) -> str:
    """The last round's mask figures: the mean by step as a chart, values and pictures as logged."""
    means = sorted(t for t in log.Tags()["scalars"] if t.startswith("mask/mean/"))
    if not means:
        return "<p>This variant has no mask.</p>"
    steps = [float(tag.rsplit("/", 1)[1]) for tag in means]
    values = [log.Scalars(tag)[-1].value for tag in means]
    chart = line_chart("mean of the mask", steps, {"mean": values}, "denoising step", (0.0, 1.0))
    fig4, fig9 = (log.Images(t)[-1].encoded_image_string for t in ("mask/fig4", "mask/fig9"))
    return (
        f"{chart}<p class=note>Fig. 4: how often each mask value occurs; a column a denoising "
        "step, 1 (copy) at the top, 0 (draw) at the bottom; red: the mean.</p>"
        f"{_picture(fig4, 'png', 96)}"
        "<p class=note>Fig. 9: the mask from the first denoising step to the last; white copies "
        f"the frame before, black draws.</p>{_picture(fig9, 'png', 900)}"
    )


def _picture(data: bytes, kind: str, width: int | None = None) -> str:
    size = f' width="{width}"' if width else ""
    return f'<img src="data:image/{kind};base64,{base64.b64encode(data).decode()}"{size} alt="">'
