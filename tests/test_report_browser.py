"""The pages in a real browser, 360 px wide as on a phone. Skipped where no Chromium is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from imprint.report.overlay import write_overlay
from imprint.report.page import write_report
from test_report import make_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
# The page is shown in a frame: a headless window is never narrower than 500 px.
FRAME = """<!doctype html><body style="margin:0">
<iframe src="page.html" style="width:%dpx;height:800px;border:0"></iframe>
<script>
document.querySelector("iframe").onload = (event) => {
  const page = event.target.contentDocument;
  const seen = (selector) => [...page.querySelectorAll(selector)].map((node) => {
    const box = node.getBoundingClientRect();
    const size = parseFloat(page.defaultView.getComputedStyle(node).fontSize);
    return { left: box.left, right: box.right, width: box.width, height: box.height, size, text: node.textContent };
  });
  document.body.dataset.seen = JSON.stringify({
    overflow: page.documentElement.scrollWidth,
    cards: seen(".card"), figures: seen(".card b"), families: seen(".family > span"), tracks: seen(".track"),
    ends: seen(".track small"), panels: seen(".panel"), titles: seen(".panel figcaption b"), cells: seen(".cell b"),
    skills: seen(".map tbody th span"), script: page.querySelectorAll("#tasks button").length,
  });
};
</script>"""


def look(page: Path, folder: Path, width: int = 360) -> dict[str, Any]:
    """Boxes and sizes of what `page` shows in a window of this width."""
    shutil.copy(page, folder / "page.html")
    (folder / "frame.html").write_text(FRAME % width, encoding="utf-8")
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert found, done.stdout[:500]
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


def test_a_run_can_be_read_on_a_phone(tmp_path: Path) -> None:
    seen = look(write_report(make_run(tmp_path / "run", "pick_two_obj_and_place")), tmp_path)
    assert seen["overflow"] <= 360  # nothing but charts and tables scrolls sideways
    for name, least in (("cards", 120), ("tracks", 180), ("panels", 240)):
        assert seen[name] and all(one["left"] >= 0 and one["right"] <= 360 for one in seen[name]), name
        assert all(one["width"] >= least for one in seen[name]), name
    for name in ("figures", "families", "ends", "titles", "cells", "skills"):
        assert seen[name] and all(one["size"] >= 12 for one in seen[name]), name
    assert all(one["right"] <= 360 for one in (*seen["ends"], *seen["families"]))
    assert {one["text"].strip() for one in seen["ends"]} >= {"75%", "80%"}
    assert all(one["width"] <= 120 for one in seen["skills"])  # the map's tiles have the room
    assert seen["script"] == 4  # the script runs under the page's policy


def test_several_runs_can_be_read_on_a_phone(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, "pick_two_obj_and_place") for name in ("first", "second")]
    seen = look(write_overlay(runs, tmp_path / "both.html"), tmp_path)
    assert seen["overflow"] <= 360 and len(seen["panels"]) >= 4
    assert all(one["right"] <= 360 and one["size"] >= 12 for one in seen["titles"])


def test_a_live_page_loads_itself_anew(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run"), refresh=1).read_bytes()
    asked, often = list[str](), threading.Event()

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                asked.append(self.path)
            if len(asked) == 3:
                often.set()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert BROWSER is not None
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/"]  # it stays open
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            assert often.wait(100), asked
            browser.terminate()
        server.shutdown()
