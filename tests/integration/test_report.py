"""The report in a real browser: it fits a phone and a desk, and asks for nothing but itself."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.foundation.process import run
from pipeline.publishing.film import film_strip
from pipeline.publishing.report import render
from tests.unit.publishing.test_report import STORY, TEMPLATES

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome"),
]
# Shows the page at a width of its own and tells, as its own text, how wide the page wants to be.
FRAME = """<!doctype html><iframe id=f
style="width:{width}px;height:900px;border:0" src=report.html>
</iframe><p id=told></p><script>
f.onload = () => {{
  const page = f.contentDocument;
  told.textContent = JSON.stringify({{
    wants: page.documentElement.scrollWidth,
    pictures: [...page.images].map(image => image.naturalWidth),
    background: f.contentWindow.getComputedStyle(page.body).backgroundColor,
    height: page.querySelector("h1").getBoundingClientRect().height,
  }});
}};
</script>"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """A server of a folder with the report; the paths it was asked for."""
    folder, asked = tmp_path / "site", list[str]()
    folder.mkdir()
    Image.new("RGB", (720, 400), "navy").save(tmp_path / "0000-firmware.png")
    story = replace(STORY, frames=film_strip([("install", tmp_path)]))
    (folder / "report.html").write_bytes(render(story, TEMPLATES))

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()
    server.server_close()


def browse(profile: Path, *words: str) -> str:
    """What the browser prints; with a profile of its own, and without calling home."""
    argv = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={profile}", *words]  # fmt: skip
    return run(argv, deadline=120).output


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_asks_for_nothing_else(
    site: tuple[str, Path, list[str]], tmp_path: Path, width: int, scheme: str
) -> None:
    base, folder, asked = site
    (folder / "frame.html").write_text(FRAME.format(width=width))
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    dom = browse(
        tmp_path / "profile", *dark, "--virtual-time-budget=5000", "--dump-dom",
        f"{base}/frame.html",
    )  # fmt: skip
    told = re.search(r'<p id="told">(.+?)</p>', dom)
    assert told, dom
    seen = json.loads(told[1])
    assert seen["wants"] <= width
    assert seen["pictures"] == [480]
    assert seen["background"] == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 29)"}[scheme]
    assert set(asked) - {"/favicon.ico"} == {"/frame.html", "/report.html"}
