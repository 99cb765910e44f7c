"""TensorBoard as a reader sees it: pictures of its pages, taken with Playwright in Chromium.

A page counts only when what it must show (names of variants, values, loaded pictures) is found in
it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.studies.study import Study
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LOADING, PATIENCE, SETTLING = 120.0, 120.0, 3.0
"""Seconds for a page, each thing that it must show, and charts, which are drawn in steps."""

MEANS = "%5E%5B%5E%2F%5D%2B%24"
"""`^[^/]+$`: the runs without a slash, which hold the means over the seeds."""


@dataclass(frozen=True)
class Page:
    """One picture.

    Attributes:
        name: name of its file, without `.png`.
        address: what follows TensorBoard's own address.
        size: width and height of the window, in pixels.
        words: texts that must be in it.
        images: how many pictures must have been loaded, at least.
        tick: checkboxes to tick, by label.
    """

    name: str
    address: str
    size: tuple[int, int]
    words: tuple[str, ...]
    images: int = 0
    tick: tuple[str, ...] = ()


def pages(variants: list[str], study: Study) -> tuple[Page, ...]:
    """What is looked at, given the variants' names."""
    bars, clips = study.bars.tag, study.clips.tag
    hparams = (
        *(f"{v}/seed" for v in variants),
        *study.shown,
        "metrics/background_psnr@127",
        "metrics/FVD",
    )
    overlay = tuple(f"curves/background_psnr ({v})" for v in variants)
    layout = f"#custom_scalars&regexInput={MEANS}&_smoothingWeight=0"
    curves = f"?runFilter={MEANS}&tagFilter=background_psnr&smoothing=0#timeseries"
    return (
        Page("hparams", "#hparams", (2400, 1000), hparams, tick=study.ticked),
        Page("images", f"#images&tagFilter={clips}", (1600, 1100), (f"{clips}/clips",), 2),
        Page(
            "figures",
            f"#images&tagFilter={study.figures or bars}",
            (1600, 1400),
            (f"{bars}/FVD",),
            3,
        ),
        Page("custom_scalars", layout, (1600, 1100), overlay),
        Page("scalars", curves, (1700, 1100), (*variants, "/background_psnr")),
    )


def take(logdir: Path, out: Path, study: Study) -> list[Path]:
    """Write a PNG for each of `pages` into `out`.

    Raises:
        UserError: no TensorBoard folder, no Playwright, no browser, or a page that does not show
            what it must.
    """
    variants = sorted({path.parent.name for path in logdir.glob("*/seed*")})
    if not variants:
        raise UserError(f"{logdir} holds no runs: run `make ablations` first.")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UserError("There is no Chromium: install it, such as by `apt-get install chromium`.")
    try:
        from playwright import sync_api
    except ImportError as error:
        raise UserError(
            "There is no Playwright: use `make tensorboard-shots`, or `pip install playwright`."
        ) from error
    paths = []
    try:
        with sync_api.sync_playwright() as playwright:
            # root, as in a container, may not use the sandbox; only our own pages are opened
            chromium = playwright.chromium.launch(executable_path=browser, chromium_sandbox=False)
            address = _tensorboard(logdir)
            for page in pages(variants, study):
                picture = _take(chromium, page, address)
                paths.append(out / f"{page.name}.png")
                write_atomically(paths[-1], picture)
                print(paths[-1])
            chromium.close()
    except sync_api.Error as error:
        reason = error.message.strip().splitlines()[0]
        raise UserError(f"{browser} did not show TensorBoard ({reason}): try again.") from error
    return paths


def _take(chromium: Any, page: Page, address: str) -> bytes:
    """The picture of a page, once it shows all that it must."""
    from playwright.sync_api import TimeoutError as TimedOut

    width, height = page.size
    tab = chromium.new_page(viewport={"width": width, "height": height})
    tab.set_default_timeout(1000 * PATIENCE)
    tab.goto(f"{address}{page.address}", timeout=1000 * LOADING)
    word = ""
    try:
        for word in page.words:
            tab.get_by_text(word).first.wait_for(state="attached")
        if page.images:
            word = f"{page.images} pictures"
            tab.locator("img").nth(page.images - 1).wait_for()  # seen means loaded
    except TimedOut as error:
        raise UserError(
            f"TensorBoard's page '{page.name}' does not show '{word}' after {PATIENCE:.0f} s: "
            "look at it with `make tensorboard`."
        ) from error
    for label in page.tick:
        boxes = tab.locator("vaadin-checkbox, paper-checkbox, mat-checkbox")
        boxes.filter(has_text=re.compile(rf"^\s*{label}\s*$")).evaluate_all(
            "boxes => boxes.filter(box => !box.checked).forEach(box => box.click())"
        )
    tab.wait_for_load_state("networkidle")
    tab.wait_for_timeout(1000 * SETTLING)
    picture: bytes = tab.screenshot()
    tab.close()
    return picture


def _tensorboard(logdir: Path) -> str:
    """The address of a TensorBoard that runs as long as this process."""
    from tensorboard import program

    board = program.TensorBoard()
    board.configure(argv=[None, "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"])
    return str(board.launch())
