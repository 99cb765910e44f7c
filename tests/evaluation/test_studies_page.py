"""The page: claims first, everything said, nothing loaded from elsewhere."""

from __future__ import annotations

import html
import html.parser
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from study_results import write_results

from evaluation.studies.claims import findings
from evaluation.studies.grid import read_grid
from evaluation.studies.page import Shown, write_page
from evaluation.studies.pictures import side_by_side
from evaluation.studies.protocol import protocol_rows
from evaluation.studies.ranking import best_variant, rankings

EFFECTS = {
    "no_mask": {"FVD@128": 30.0, "background_psnr@127": -4.0, "FVD": 30.0},
    "no_anchor": {"FVD": -30.0},
}
FRAMES = 32
VOID = ("meta", "img", "br")
OPEN_ENDED = ("th", "td", "tr")


class Checker(html.parser.HTMLParser):
    """Counts tags, and finds addresses that the page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in (*VOID, *OPEN_ENDED):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in (*VOID, *OPEN_ENDED):
            assert self.open.pop() == tag


def page_of(out: Path, folder: Path) -> str:
    grid = read_grid(out)
    shown = Shown(findings(grid), rankings(grid), best_variant(grid), side_by_side(grid))
    write_page(grid, shown, folder, "two cores & no GPU")
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid")


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    write_results(folder, EFFECTS, long_frames=FRAMES)
    return page_of(folder, folder / "page")


def text_of(part: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", part).split()))


def section(page: str, name: str) -> str:
    """From a heading to the next of its level."""
    return page.split(f"<h2 id={name}>")[1].split("<h2 ")[0]


def test_the_page_is_whole_and_loads_only_what_lies_beside_it(page: str, folder: Path) -> None:
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    assert {"clips.gif", "frames.png", "masks_full.png"} <= set(checker.loads)
    assert all((folder / "page" / name).is_file() for name in checker.loads)
    assert "<script" not in page and "://" not in page and "nan" not in text_of(page).split()
    assert set(p.name for p in (folder / "page").iterdir()) == {"index.html", *checker.loads}
    assert sum(p.stat().st_size for p in (folder / "page").iterdir()) < 2_000_000


def test_claims_come_first_with_their_verdicts(page: str) -> None:
    order = re.findall(r"<h2 id=(\w+)>", page)
    assert order[:2] == ["claims", "variants"]
    assert {"drift", "fig10", "fig8a", "fig8b", "guidance", "fig4", "fig9", "protocol"} < set(order)
    rows = section(page, "claims").split("<tbody>")[1].split("</tbody>")[0].split("<tr")[1:]
    verdicts = [re.findall(r'class="verdict[^"]*">([^<]+)<', row) for row in rows]
    assert all(len(v) == 1 for v in verdicts)
    assert "The mask lowers drift" in rows[0] and verdicts[0] == ["reproduced"]
    assert "shapes-FVD" in rows[9] and verdicts[9] == ["contradicted"]
    first = [v for row, v in zip(rows, verdicts, strict=True) if row.startswith(" class=first")]
    tally = f"Of {len(first)} claims: {first.count(['reproduced'])} reproduced,"
    assert tally in text_of(page) and len(first) < len(rows)
    cells = [text_of(cell) for cell in rows[0].split("<td")[1:]]
    assert re.fullmatch(r".*(49|50)\.\d+ ± 0\.\d+ with it", cells[3])
    assert re.fullmatch(r".*(79|80)\.\d+ ± 0\.\d+ without it", cells[4])
    assert re.fullmatch(r".*29\.\d+ to 30\.\d+", cells[6])
    words = text_of(section(page, "claims"))
    assert "The mask lowers drift. Reproduced; shapes-FVD, frames 112 to 127: with it" in words
    assert "two-sided paired t test over seeds" in words and "two degrees of freedom" in words


def test_numbers_of_variants_are_means_and_sds(page: str, folder: Path) -> None:
    table = section(page, "variants")
    row = next(r for r in table.split("<tr>") if "no mask" in r)
    runs = read_grid(folder).variants["no_mask"].values()
    fvd = [run.metrics["FVD"] for run in runs]
    mean = sum(fvd) / 3
    sd = (sum((v - mean) ** 2 for v in fvd) / 2) ** 0.5
    assert f"<td>{mean:.2f} ± {sd:.2f}</td>" in row
    assert "full model (base)" in table
    truth = next(r for r in table.split("<tr>") if "the true videos" in r)
    assert "<td>1.500</td>" in truth and "<td>100.0 %</td>" in truth
    still = next(r for r in table.split("<tr>") if "first frame repeated" in r)
    assert "<td>2.500</td>" in still


def test_the_protocol_is_said(page: str) -> None:
    words = text_of(section(page, "protocol"))
    for said in (
        "make ablations BUDGET=quick",
        "8 variants × seeds 0, 1, 2",
        "12 held-out worlds of 16 frames, the first 6 of them for 32 frames",
        "color 100.0%, direction 97.0%",
        "noise level 20; guidance references 0, anchor 0, text 0",
        "t_test on full: 0, 100, 200, 400",
        "trainings 1, all else 1, 2 in all",
        "machine two cores & no GPU",
        "32×32 pixels",
    ):
        assert said in words, said
    assert "results are missing" not in page


def test_the_weights_are_said_that_the_trainings_started_from(tmp_path: Path) -> None:
    write_results(tmp_path, seeds=(0,), variants=("full",), long_frames=16)
    rows = dict(protocol_rows(read_grid(tmp_path)))
    assert rows["training steps"] == "600 for each variant"
    config = tmp_path / "runs" / "full" / "seed0" / "config.yaml"
    config.write_text("model: {init_from: models/worlds}\n")
    rows = dict(protocol_rows(read_grid(tmp_path)))
    said = "600 for each variant, from those weights of models/worlds that it has"
    assert rows["training steps"] == said


def test_the_animation_has_a_row_for_each_name(page: str, folder: Path) -> None:
    names = re.findall(r"<span>([^<]+)</span>", section(page, "fig10"))
    assert names[:3] == ["truth", "full model", "no mask"] and len(names) == 2 * 9
    with Image.open(folder / "page" / "clips.gif") as gif:
        assert gif.n_frames == FRAMES and gif.size == (4 * 10 - 2, 9 * 10 - 2)


def test_the_truth_is_drawn_where_it_is_not_its_own_measure(page: str) -> None:
    charts = section(page, "drift").split("<svg")[1:]
    titles = [re.findall('aria-label="([^"]+)"', chart)[0] for chart in charts]
    shown = {t: ">truth<" in chart for t, chart in zip(titles, charts, strict=True)}
    by_window = {t for t in titles if "by window" in t}
    assert {t.partition(",")[0] for t in by_window} == {
        *("shapes-FVD", "right colour", "right shape", "right direction")
    }
    charts = [chart for t, chart in zip(titles, charts, strict=True) if t not in by_window]
    titles = [t for t in titles if t not in by_window]
    shown = {t: drawn for t, drawn in shown.items() if t not in by_window}
    flat = {t: "mean colour<" in chart for t, chart in zip(titles, charts, strict=True)}
    assert flat == {t: not shown[t] for t in titles}
    assert shown.pop("PSNR, dB") is shown.pop("background PSNR, dB") is False
    assert len(shown) == 4 and all(shown.values())


def test_charts_follow_the_page_and_not_a_fixed_ink(page: str) -> None:
    assert page.count("<svg") >= 6 + 6 + 4 + 7
    assert "fill: currentColor" in page and "prefers-color-scheme: dark" in page


def test_the_analysis_is_shown_where_there_is_one(page: str, folder: Path) -> None:
    assert "id=analysis" not in page
    other = folder / "with"
    other.mkdir()
    (other / "analysis.md").write_text("The anchor *does not* help:\n\n- too short\n- a < b\n")
    shown = section(page_of(folder, other), "analysis")
    assert "<em>does not</em>" in shown and "<li>too short</li>" in shown and "a &lt; b" in shown
    assert (other / "analysis.md").is_file()


def test_little_is_shown_as_little(tmp_path: Path) -> None:
    """One variant, one seed, no pictures, a strange title: still a whole page."""
    write_results(tmp_path, seeds=(5,), variants=("full",), long_frames=0)
    plan = tmp_path / "plan.json"
    plan.write_text(plan.read_text().replace('"full model"', '"<b>&"'))
    for name in ("benchmark/samples.npz", "t_test_100/result.json"):
        (tmp_path / "runs" / "full" / "seed5" / name).unlink()
    shutil.rmtree(tmp_path / "runs" / "full" / "seed5" / "guidance_text_1")
    (tmp_path / "timing.json").unlink()
    page = page_of(tmp_path, tmp_path / "page")
    checker = Checker()
    checker.feed(page)
    assert not checker.open and not checker.loads
    assert "&lt;b&gt;&amp; (base)" in page and "<b>&" not in page
    assert "No clips were kept." in page and "No masks were kept." in page
    assert "2 results are missing" in page and "t_test_100/result.json" in page
    assert "Nothing was measured as far as frame 127." in page
    assert "not recorded" in section(page, "protocol")
    assert "nan" not in text_of(page).split()
