"""What a grid of runs shows: TensorBoard's folder and the static page."""

from __future__ import annotations

import sys
from pathlib import Path

from evaluation.ablations.board import write_board
from evaluation.ablations.claims import findings
from evaluation.ablations.page import write_page
from evaluation.ablations.pictures import side_by_side
from evaluation.ablations.ranking import RANKED_BY, best_variant, rank_forms
from evaluation.ablations.reading import read_grid


def write(out: Path, page: Path | None = None, machine: str | None = None) -> None:
    """Write `out/tensorboard` and the page anew from the results that are there.

    Args:
        out: folder of `plan.json` and `runs/`.
        page: folder of the page; None for `out/page`.
        machine: on which the grid ran, in words, for the page.

    Raises:
        UserError: no results, results that do not compare, or a place that cannot be written.
    """
    grid = read_grid(out)
    if grid.missing:
        print(
            f"note: {len(grid.missing)} results are missing in {out}, such as {grid.missing[0]}; "
            "claims that need them are marked.",
            file=sys.stderr,
        )
    found, goal = findings(grid), best_variant(grid)
    forms = [rank_forms(grid, metric) for metric in RANKED_BY]
    clips = side_by_side(grid)
    sentences = [f.sentence() for f in found] + [ranking.sentence() for ranking in forms]
    sentences += [goal.sentence()] if goal else []
    write_board(grid, clips, "".join(f"- {s}\n" for s in sentences), out / "tensorboard")
    folder = page or out / "page"
    write_page(grid, found, forms, goal, clips, folder, machine)
    print(f"{folder / 'index.html'}\nTensorBoard: tensorboard --logdir {out / 'tensorboard'}")
