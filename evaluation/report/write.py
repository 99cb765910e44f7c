"""A report's files: `report.md`, `report.html`, `report.tex`, and TensorBoard's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from evaluation.compare import title
from evaluation.finding import find_videos
from evaluation.notes import quiet
from evaluation.report.blocks import to_latex, to_markdown
from evaluation.report.content import TITLE, content, key
from evaluation.report.published import read_table1
from evaluation.result import Result
from evaluation.videos import ClipRule, read_clip
from lightning_artv.errors import UserError
from lightning_artv.figures import Scalar
from lightning_artv.media import gif_bytes, grid
from lightning_artv.media.atomic import write_atomically
from lightning_artv.pages.page import inline, write_page

SHOWN, COLUMNS, SIDE, FPS = 8, 4, 128, 8.0


def write_report(
    results: Sequence[Result],
    out: Path,
    skipped: Mapping[str, str] | None = None,
    tensorboard: Path | None = None,
) -> list[Path]:
    """Write the report and return its files. The same results give the same bytes.

    Args:
        results: measured here.
        out: folder for `report.md`, `report.html` and `report.tex`.
        skipped: row -> why there is no result for it.
        tensorboard: folder of its event files, replaced; None for none.

    Raises:
        UserError: no result, results that do not compare, or a place that cannot be written.
    """
    if not results and not skipped:
        raise UserError("A report needs at least one result.")
    pictures = {key(result): picture(result) for result in results}
    blocks = content(results, read_table1(), skipped or {}, pictures)
    files = [out / f"report.{suffix}" for suffix in ("md", "html", "tex")]
    markdown = to_markdown(blocks)
    write_atomically(files[0], markdown.encode())
    kinds = [(type(block).__name__, block) for block in blocks]
    write_page(files[1], Path(__file__).with_name("page.html"), title=TITLE, blocks=kinds)
    write_atomically(files[2], to_latex(blocks).encode())
    if tensorboard is not None:
        _write_tensorboard(results, markdown, tensorboard)
    return files


def picture(result: Result) -> str:
    """The first generated videos as the address of a GIF; empty where they are gone."""
    folder = Path(str(result.run.get("fake", "")))
    if not result.run.get("fake") or not folder.is_dir():
        return ""
    settings = result.protocol["settings"]
    side = min(SIDE, settings["resolution"])
    rule = ClipRule(settings["frames"], 1, None, settings["fake_clip"], side, settings["seed"])
    clips = [read_clip(video, rule) for video in find_videos(folder, quiet)[:SHOWN]]
    sheet = grid(torch.stack(clips).permute(0, 1, 3, 4, 2), COLUMNS)
    return inline(gif_bytes(sheet, FPS, scale=max(1, SIDE // side)), "gif")


def _write_tensorboard(results: Sequence[Result], markdown: str, folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    from lightning_artv.media.tensorboard import write_figures

    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("report", markdown)
        for result in results:
            for m in result.measurements:
                of, by = result.protocol["name"], title(result)
                values = {m.label: m.value, **m.more}
                found = {n: Scalar(value) for n, value in values.items() if value is not None}
                tags = {f"{of}/{n}/{by}".replace(" ", "_"): found[n] for n in found}
                write_figures(writer, tags)
