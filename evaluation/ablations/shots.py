"""TensorBoard as a reader sees it: pictures of its pages, taken with a real browser.

Chromium is spoken to over the Chrome DevTools Protocol. A page counts only when what it must show
(names of variants, values, loaded pictures) is found in it, shadow roots included.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 120.0
"""Seconds for a page, and for each program to start."""

MEANS = "%5E%5B%5E%2F%5D%2B%24"
"""`^[^/]+$`: the runs without a slash, which hold the means over the seeds."""

LOOK = """(() => {
  const text = []; let images = 0, waiting = 0;
  const walk = node => {
    if (node.nodeType === 3 && !['STYLE', 'SCRIPT'].includes(node.parentNode.tagName))
      text.push(node.textContent.trim());
    if (node.tagName === 'IMG') { if (node.naturalWidth > 1) images++; else waiting++; }
    if (node.shadowRoot) walk(node.shadowRoot);
    for (const child of node.childNodes) walk(child);
  };
  if (document.body) walk(document.body);
  return JSON.stringify({text: text.filter(t => t).join('\\n'), images, waiting});
})()"""

TICK = """(() => {
  const walk = node => {
    if ('checked' in node && /CHECKBOX/.test(node.tagName) && !node.checked
        && WANTED.includes(node.textContent.trim())) node.click();
    if (node.shadowRoot) walk(node.shadowRoot);
    for (const child of node.children || []) walk(child);
  };
  walk(document.body);
})()"""


@dataclass(frozen=True)
class Page:
    """One picture.

    Attributes:
        name: of its file, without `.png`.
        address: behind TensorBoard's own.
        size: of the window, in pixels.
        words: what must be in it, as text.
        images: how many pictures must have been loaded, at least.
        tick: checkboxes to tick, by label.
    """

    name: str
    address: str
    size: tuple[int, int]
    words: tuple[str, ...]
    images: int = 0
    tick: tuple[str, ...] = field(default=())


def pages(variants: list[str]) -> tuple[Page, ...]:
    """What is looked at, given the variants' names."""
    runs = tuple(f"{v}/seed" for v in variants)
    overlay = tuple(f"curves/background_psnr ({v})" for v in variants)
    metrics = ("metrics/background_psnr@127", "metrics/FVD")
    tick = ("seed", "static_noise")
    return (
        Page("hparams", "#hparams", (2400, 1000), (*runs, *metrics, "T_max"), tick=tick),
        Page("images", "#images&tagFilter=fig10", (1600, 1100), ("fig10/clips",), 2),
        Page("figures", "#images&tagFilter=fig(8|4)", (1600, 1400), ("fig8a/FVD",), 3),
        Page(
            "custom_scalars",
            f"#custom_scalars&regexInput={MEANS}&_smoothingWeight=0",
            (1600, 1100),
            overlay,
        ),
        Page(
            "scalars",
            f"?runFilter={MEANS}&tagFilter=background_psnr&smoothing=0#timeseries",
            (1700, 1100),
            (*variants, "/background_psnr"),
        ),
    )


def take(logdir: Path, out: Path) -> list[Path]:
    """Write a PNG for each of `pages` into `out`.

    Raises:
        UserError: no TensorBoard folder, no browser, or a page that does not show what it must.
    """
    variants = sorted({path.parent.name for path in logdir.glob("*/seed*")})
    if not variants:
        raise UserError(f"{logdir} holds no runs: run `make ablations` first.")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UserError("There is no Chromium: install it, such as by `apt-get install chromium`.")
    with _tensorboard(logdir) as address, _chromium(browser) as port:
        return asyncio.run(_take_all(pages(variants), address, port, out))


async def _take_all(wanted: tuple[Page, ...], address: str, port: int, out: Path) -> list[Path]:
    paths = []
    async with aiohttp.ClientSession() as session:
        for page in wanted:
            async with _Tab.opened(session, port) as tab:
                picture = await _take(tab, page, address)
            paths.append(out / f"{page.name}.png")
            write_atomically(paths[-1], picture)
            print(paths[-1])
    return paths


async def _take(tab: _Tab, page: Page, address: str) -> bytes:
    width, height = page.size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    await tab.call("Emulation.setDeviceMetricsOverride", metrics)
    await tab.call("Page.navigate", {"url": f"{address}/{page.address}"})
    began = time.monotonic()
    while lacks := await _lacks(tab, page):
        if time.monotonic() - began > PATIENCE:
            raise UserError(
                f"TensorBoard's page '{page.name}' does not show {lacks} after {PATIENCE:.0f} s: "
                "look at it with `make tensorboard`."
            )
        await asyncio.sleep(0.5)
    if page.tick:
        await tab.evaluate(TICK.replace("WANTED", json.dumps(page.tick)))
    await asyncio.sleep(3)  # charts are drawn in steps
    shot = await tab.call("Page.captureScreenshot", {"format": "png"})
    return base64.b64decode(shot["data"])


async def _lacks(tab: _Tab, page: Page) -> str:
    """What the page does not show yet; empty where it shows all."""
    seen = json.loads(await tab.evaluate(LOOK))
    absent = [word for word in page.words if word not in seen["text"]]
    if absent:
        return f"'{absent[0]}'"
    if seen["waiting"] or seen["images"] < page.images:
        return f"{page.images} pictures"
    return ""


class _Tab:
    """A tab of the browser, by the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket, self._sent = socket, 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, session: aiohttp.ClientSession, port: int) -> AsyncIterator[_Tab]:
        """A new tab, closed at the end."""
        base = f"http://127.0.0.1:{port}/json"
        async with session.put(f"{base}/new?about:blank") as reply:
            target = await reply.json(content_type=None)
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield cls(socket)
        async with session.get(f"{base}/close/{target['id']}"):
            pass

    async def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """A command's result.

        Raises:
            UserError: the browser refused it or went away.
        """
        self._sent += 1
        await self._socket.send_json({"id": self._sent, "method": method, "params": parameters})
        async for message in self._socket:
            reply = json.loads(message.data)
            if reply.get("id") == self._sent:
                if "result" in reply:
                    return dict(reply["result"])
                break
        raise UserError(f"Chromium did not do {method}: try again, or another version of it.")

    async def evaluate(self, script: str) -> Any:
        """What a script returns."""
        reply = await self.call("Runtime.evaluate", {"expression": script})
        return reply["result"].get("value")


@contextmanager
def _tensorboard(logdir: Path) -> Iterator[str]:
    """TensorBoard on a free port: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir)]
    with _running([*command, "--host", "127.0.0.1", "--port", str(port)]) as process:
        _wait_for(lambda: _answers(port), process, "TensorBoard")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _chromium(browser: str) -> Iterator[int]:
    """A headless Chromium: the port of its DevTools."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # root, as in a container, may not use the sandbox; only our own pages are opened
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        written = Path(profile) / "DevToolsActivePort"
        with _running([browser, *options]) as process:
            _wait_for(
                lambda: written.is_file() and len(written.read_text().split()) > 1,
                process,
                "Chromium",
            )
            yield int(written.read_text().split()[0])


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
    began = time.monotonic()
    while not ready():
        if process.poll() is not None or time.monotonic() - began > PATIENCE:
            raise UserError(f"{name} did not start: run it by hand to see why.")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
