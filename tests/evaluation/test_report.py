"""Comparing and reporting: what compares, what the paper printed, three languages."""

from __future__ import annotations

import copy
import dataclasses
import html.parser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evaluation.compare import compare
from evaluation.protocols import PRESETS, Protocol
from evaluation.report.cells import digits
from evaluation.report.published import read_table1
from evaluation.report.write import write_report
from evaluation.result import Measurement, Result
from lightning_artv.errors import UserError
from lightning_artv.media import open_writer

SETS: dict[str, dict[str, Any]] = {
    "real": {"found": 13320, "used": 2048},
    "fake": {"found": 2048, "used": 2048, "prompts_sha256": "ab"},
}


def described(protocol: Protocol) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "hash": protocol.hash,
        "source": protocol.source,
        "settings": protocol.settings(),
        "assumed": dict(protocol.assumed),
    }


def result(
    name: str = "ours",
    preset: str = "ucf101-2048",
    mode: str = "none",
    fvd: float = 123.456,
    **changes: Any,
) -> Result:
    weights = {"i3d.pt": "ab" * 32}
    measurements = (
        Measurement("fvd", "FVD", "measured", fvd, 4.5, "over draws", 2048, 2048, "i3d", weights),
        Measurement("is", "IS", "skipped", reason="The c3d weights are missing: get them."),
        Measurement("clipsim", "CLIPSIM", "measured", 0.25, fake=2048, features="clip"),
    )
    found = Result(
        name=name,
        mode=mode,
        protocol=described(PRESETS[preset]),
        sets=SETS,
        measurements=measurements,
        warnings=("a < b & c",),
        versions={"torch": "2.12.1"},
        run={"date": "2026-01-01"},
    )
    return dataclasses.replace(found, **changes)


def saved(folder: Path, *results: Result) -> list[Path]:
    paths = [folder / f"{i}.json" for i in range(len(results))]
    for path, one in zip(paths, results, strict=True):
        one.save(path)
    return paths


def with_fvd(one: Result, **changes: Any) -> Result:
    first, *others = one.measurements
    return dataclasses.replace(one, measurements=(dataclasses.replace(first, **changes), *others))


def test_compare_is_a_table_of_one_protocol(tmp_path: Path) -> None:
    table = compare(saved(tmp_path, result("a", fvd=10.0), result("b", fvd=9.5)))
    assert "|  | FVD ↓ | IS ↑ | CLIPSIM ↑ |" in table
    assert "| a without image | 10.00 ± 4.5000 | skipped | 0.2500 |" in table
    assert "| b without image | 9.5000 ± 4.5000 |" in table
    assert f"Protocol ucf101-2048 ({PRESETS['ucf101-2048'].hash[:12]}), 2048 real" in table


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        (result(preset="tats"), "split, sampling, resolution, eps"),
        (result(preset="ucf101-2k"), "real_count, fake_count"),
        (
            result(sets={"real": {"used": 2048}, "fake": {"used": 505}}),
            "generated videos",
        ),
        (
            result(sets={**SETS, "fake": {**SETS["fake"], "prompts_sha256": "cd"}}),
            ": prompts differ",
        ),
        (with_fvd(result(), weights={"i3d.pt": "cd" * 32}), "weights.fvd.i3d.pt"),
        (with_fvd(result(), label="random-FVD", weights={}), "weights.fvd"),
    ],
)
def test_what_does_not_compare_is_refused_by_field(
    other: Result, fields: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="do not compare") as error:
        compare(saved(tmp_path, result(), other))
    assert fields in str(error.value) and error.value.exit_code == 2
    with pytest.raises(UserError, match="do not compare"):
        write_report([result(), other], tmp_path / "report")


def test_what_one_result_lacks_does_not_keep_the_others_apart(tmp_path: Path) -> None:
    other = with_fvd(result("b"), status="skipped", value=None)
    other = dataclasses.replace(other, sets={**SETS, "fake": {"found": 2048, "used": 2048}})
    table = compare(saved(tmp_path, result("a"), other))
    assert "| a without image | 123.46" in table and "| b without image | skipped" in table


def test_results_that_were_changed_by_hand_are_refused(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, result())
    content = json.loads(path.read_text())
    for change, words in [
        (lambda c: c["protocol"]["settings"].update(frames=8), "does not have its hash"),
        (lambda c: c.update(format=2), "no result of this version"),
        (lambda c: c.update(extra=1), "damaged result"),
        (lambda c: c["measurements"][0].pop("label"), "damaged result"),
    ]:
        changed = copy.deepcopy(content)
        change(changed)
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match=words):
            Result.load(path)
    path.write_text("{")
    with pytest.raises(UserError, match="not json"):
        Result.load(path)
    with pytest.raises(UserError, match="no result"):
        Result.load(tmp_path / "none.json")


def test_table1_is_the_papers() -> None:
    """Spot values, and counts and sums of columns taken from the paper's text on their own."""
    table = read_table1()
    rows = {row.method: row for row in table.rows}
    assert len(rows) == 19 and "Table 1" in table.source
    ours = [rows[f"ART•V + {mode}"] for mode in ("W/O Image", "SDXL", "GT Image")]
    assert [r.ucf101_fvd for r in ours] == [567.20, 539.57, 315.69]
    assert [r.ucf101_is for r in ours] == [26.89, 36.21, 50.34]
    assert [r.msrvtt_fvd for r in ours] == [356.50, 413.01, 291.08]
    assert [r.msrvtt_clipsim for r in ours] == [0.2897, 0.3022, 0.2859]
    assert {r.method for r in table.rows if not r.msrvtt_zero_shot} == {"GODIVA", "NUWA"}
    columns = {
        "ucf101_fvd": (15, 7641.68),
        "ucf101_is": (10, 381.39),
        "msrvtt_fvd": (10, 6261.59),
        "msrvtt_clipsim": (17, 4.8496),
    }
    for name, (count, total) in columns.items():
        values = [v for row in table.rows if (v := getattr(row, name)) is not None]
        assert (len(values), sum(values)) == (count, pytest.approx(total, abs=1e-9)), name


class Checker(html.parser.HTMLParser):
    """Counts tags, and finds addresses that a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attrs if k in ("src", "href")]
        if tag not in ("meta", "img", "line", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "polyline"):
            assert self.open.pop() == tag


def test_report_stands_beside_the_published_rows(tmp_path: Path) -> None:
    ucf = result("ART•V", mode="true-frame", fvd=300.0)
    msr = result("ART•V", "msrvtt-2990", "true-frame", fvd=200.0)
    skipped = {"ART•V + text-to-image frame": "No model was named."}
    files = write_report([ucf, msr], tmp_path, skipped, tmp_path / "tb")
    markdown, page, tex = (path.read_text() for path in files)
    lines = markdown.splitlines()
    assert "| ART•V + GT Image | WebVid-5M | 315.69 | 50.34 | 291.08 | 0.2859 |" in lines
    measured = (
        "| ART•V + true first frame | – | 300.00 ± 4.5000 | skipped | 200.00 ± 4.5000 | 0.2500 |"
    )
    assert lines.index(measured) > next(i for i, s in enumerate(lines) if "Measured here" in s)
    published = next(i for i, line in enumerate(lines) if "**Published: ART•V (arXiv" in line)
    assert published < lines.index("| GODIVA † | MSR-VTT | – | – | – | 0.2402 |")
    assert "| ART•V + text-to-image frame | – | skipped | skipped | skipped | skipped |" in lines
    assert "- IS: skipped. The c3d weights are missing: get them." in lines
    assert PRESETS["ucf101-2048"].hash in markdown and PRESETS["msrvtt-2990"].hash in markdown
    assert "| ddof | 1 | assumed: " in markdown and "| dataset | msrvtt |" in markdown
    assert "2026-01-01" not in markdown + page + tex

    checker = Checker()
    checker.feed(page)
    assert not checker.open and not checker.loads
    assert "<li>a &lt; b &amp; c</li>" in page and page.count("<table>") == 5
    assert "a &lt; b &amp; c" in page and "<script" not in page

    assert tex.count("\\begin{tabular}") == tex.count("\\end{tabular}") == 5
    assert "ART$\\bullet$V + GT Image & WebVid-5M & 315.69 & 50.34 & 291.08 & 0.2859 \\\\" in tex

    log = EventAccumulator(str(tmp_path / "tb"))
    log.Reload()
    assert log.Scalars("ucf101-2048/FVD/ART•V_+_true_first_frame")[0].value == 300
    assert not any("IS" in tag for tag in log.Tags()["scalars"])
    write_report([ucf, msr], tmp_path, skipped, tmp_path / "tb")
    assert [path.read_text() for path in files] == [markdown, page, tex]
    assert len(list((tmp_path / "tb").iterdir())) == 1


def test_random_numbers_are_called_so_in_table1(tmp_path: Path) -> None:
    random = with_fvd(result("x"), label="random-FVD", features="random-i3d", weights={})
    markdown = write_report([random], tmp_path)[0].read_text()
    assert "| x without image | – | random-FVD 123.46 ± 4.5000 | skipped |" in markdown
    assert "| random-FVD ↓ | 123.46 |" in markdown


def test_generated_videos_are_shown_and_curves_drawn(tmp_path: Path) -> None:
    with open_writer(tmp_path / "fake" / "v0", 8, (20, 20)) as writer:
        for _ in range(16):
            writer.write(np.zeros((20, 20, 3), np.uint8))
    drift = Measurement("drift", "drift", "measured", 0.1, fake=1, curve={"contrast": [0.0, 0.1]})
    shown = result(measurements=(drift,), run={"fake": str(tmp_path / "fake")})
    page = write_report([shown], tmp_path / "out")[1].read_text()
    assert page.count("data:image/gif;base64,") == 1 and page.count("<svg") == 1
    gone = dataclasses.replace(shown, run={"fake": str(tmp_path / "gone")})
    assert "data:image" not in write_report([gone], tmp_path / "out2")[1].read_text()


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one result"):
        write_report([], tmp_path)


def test_numbers_have_two_places_from_ten_on() -> None:
    assert [digits(v) for v in (1234.5678, 10.0, 9.99994, -12.345)] == [
        "1234.57",
        "10.00",
        "9.9999",
        "-12.35",
    ]
