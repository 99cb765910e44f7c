"""Pictures of TensorBoard: what is missing is one sentence; pages show what they must."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from evaluation.studies import shots
from evaluation.studies.artv import STUDY
from evaluation.studies.shots import BROWSERS, Page, pages, take
from lightning_artv.errors import UserError

BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
CONTENT = """<body style="margin: 0"><div id=host></div><script>
const root = document.getElementById("host").attachShadow({mode: "open"});
root.innerHTML = "<p>full/seed0</p><vaadin-checkbox> seed </vaadin-checkbox>"
  + "<vaadin-checkbox>seedling</vaadin-checkbox>";
for (const box of root.querySelectorAll("vaadin-checkbox")) {
  box.checked = false;
  box.addEventListener("click", () => document.body.style.background =
    box.textContent.trim() === "seed" ? "#00ff00" : "#ff0000");
}
</script></body>"""


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    (tmp_path / "log" / "full" / "seed0").mkdir(parents=True)
    return tmp_path / "log"


def test_runs_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no runs: run `make ablations` first"):
        take(tmp_path, tmp_path, STUDY)


def test_a_browser_is_needed(logdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install chromium"):
        take(logdir, tmp_path, STUDY)


def test_the_library_is_needed(
    logdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chromium").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "playwright", None)
    with pytest.raises(UserError, match="pip install playwright"):
        take(logdir, tmp_path, STUDY)


def test_a_browser_that_does_not_start_is_one_sentence(
    logdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("playwright")
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "chromium").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match="did not show TensorBoard") as error:
        take(logdir, tmp_path / "out", STUDY)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_pages_name_what_they_must_show() -> None:
    shown = {page.name: page for page in pages(["full", "no_mask"], STUDY)}
    assert {"full/seed", "no_mask/seed"} <= set(shown["hparams"].words)
    assert "curves/background_psnr (no_mask)" in shown["custom_scalars"].words


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_page_counts_only_with_its_words_and_its_boxes_ticked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    monkeypatch.setattr(shots, "SETTLING", 0.0)
    (tmp_path / "page.html").write_text(CONTENT)
    address = f"file://{tmp_path}/"
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, chromium_sandbox=False)
        page = Page("x", "page.html", (300, 200), ("full/seed",), tick=("seed",))
        with Image.open(io.BytesIO(shots._take(chromium, page, address))) as picture:
            assert picture.size == (300, 200)
            assert picture.convert("RGB").getpixel((299, 199)) == (0, 255, 0)
        monkeypatch.setattr(shots, "PATIENCE", 0.5)
        for lacking, words in (
            (Page("y", "page.html", (300, 200), ("no_mask",)), "page 'y' does not show 'no_mask'"),
            (Page("z", "page.html", (300, 200), (), images=1), "does not show '1 pictures'"),
        ):
            with pytest.raises(UserError, match=words):
                shots._take(chromium, lacking, address)
        chromium.close()
