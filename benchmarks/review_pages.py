"""The gallery in a browser: seconds until cells are painted, key to paint, frames while scrolling.

    python -m benchmarks.review_pages [--cells 10000 100000] [--keys 200] [--work FOLDER]

Reviews are synthetic (seed 0), the browser is Debian's chromium without a GPU, and the server a
process of its own. The reference is an empty page of the same server, measured in the same way: the
page of uploads until it is painted, a key that changes one text, an empty surface of the same
height that scrolls.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._review import synthetic_review

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]

#: The policy of the pages would stop what this script asks of them.
CONTEXT = {"viewport": {"width": 1440, "height": 900}, "bypass_csp": True}

#: Says when every picture in sight was painted, in milliseconds since navigation began.
PAINTED = """
const look = () => {
  const cells = [...document.querySelectorAll(".cell")].filter((cell) => {
    const box = cell.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  if (cells.some((cell) => cell.matches(".is-loaded"))) window.first ??= performance.now();
  const isEmpty = document.readyState === "complete" && document.querySelector("#upload");
  if (isEmpty || (cells.length && cells.every((cell) => cell.matches(".is-loaded"))))
    requestAnimationFrame(() => (window.painted = performance.now(), window.first ??= painted));
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""

#: Milliseconds from each key to the frame after the one that shows what it changed.
KEYS = """
window.took = [];
addEventListener("keydown", (event) => requestAnimationFrame(() => requestAnimationFrame(
  () => took.push(performance.now() - event.timeStamp))), true);
"""

#: A key that changes one text.
EMPTY_KEY = "addEventListener('keydown', () => (document.querySelector('h1').textContent += '.'));"

#: Milliseconds between frames while a surface scrolls 40 pixels a frame.
SCROLL = """
(surface) => new Promise((done) => {
  const frames = [];
  let last = performance.now();
  const step = (now) => {
    frames.push(now - last);
    last = now;
    surface.scrollTop += 40;
    if (frames.length > 120) done(frames.slice(1));
    else requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})
"""

EMPTY_SURFACE = """
() => {
  const surface = document.createElement("div");
  surface.style.cssText = "position: fixed; inset: 0; overflow-y: scroll";
  const inside = document.createElement("div");
  inside.style.height = "500000px";
  surface.append(inside);
  document.body.append(surface);
  return surface;
}
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a review by the command; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "naturalize", "review", str(folder), "--no-browser", "--port", str(port)]
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{url}/api/v1/session").close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait()


def painted(browser: Any, address: str, rounds: int = 3) -> tuple[np.ndarray, Any]:
    """Return the shortest times of some openings in seconds, and the last page.

    They are until the first picture, and until every picture in sight.
    """
    best, page = np.full(2, np.inf), None
    for _ in range(rounds):
        if page is not None:
            page.context.close()
        page = browser.new_context(**CONTEXT).new_page()
        page.set_default_timeout(120_000)
        page.add_init_script(PAINTED)
        page.goto(address, wait_until="commit")
        page.wait_for_function("window.painted")
        best = np.minimum(best, np.array(page.evaluate("[window.first, window.painted]")) / 1000)
    return best, page


def pressed(page: Any, keys: list[str], n: int) -> np.ndarray:
    """Press keys in turn; return how long each took to be painted, in milliseconds."""
    page.evaluate(KEYS)
    for i in range(n):
        page.keyboard.press(keys[i % len(keys)])
        page.wait_for_function(f"took.length > {i}")
    return np.array(page.evaluate("took"))


def measured(browser: Any, url: str, keys: int) -> dict[str, dict[str, float]]:
    """Return the figures of the gallery and of the empty page."""
    found = {}
    empty, page = painted(browser, f"{url}/upload")
    page.evaluate(EMPTY_KEY)
    took = pressed(page, ["1"], keys)
    frames = np.array(page.evaluate_handle(EMPTY_SURFACE).evaluate(SCROLL))
    found["empty page"] = _row(empty, took, frames)
    page.context.close()
    opened, page = painted(browser, f"{url}/gallery")
    frames = np.array(page.locator("#surface").evaluate_handle("s => s").evaluate(SCROLL))
    page.locator("#surface").evaluate("s => { s.scrollTop = 0; }")
    page.keyboard.press("ArrowDown")
    classes = [kbd for kbd in page.locator("#bins .tab-key").all_inner_texts() if len(kbd) == 1]
    took = pressed(page, classes, keys)
    found["gallery"] = _row(opened, took, frames)
    page.context.close()
    return found


def _row(opened: np.ndarray, took: np.ndarray, frames: np.ndarray) -> dict[str, float]:
    return {
        "first cell painted, s": float(opened[0]),
        "all cells in sight painted, s": float(opened[1]),
        "key to paint, median ms": float(np.median(took)),
        "key to paint, p95 ms": float(np.percentile(took, 95)),
        "frame, median ms": float(np.median(frames)),
        "frame, p95 ms": float(np.percentile(frames, 95)),
    }


def main() -> None:
    """Measure and print a table."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--work", type=Path, help="keeps the reviews that are made")
    options = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed")
    work = options.work or Path(tempfile.mkdtemp())
    print("| cells | figure | empty page | gallery | ratio |\n|--:|---|--:|--:|--:|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        for n in options.cells:
            folder = work / f"review-{n}"
            if not folder.exists():
                synthetic_review(folder, n)
            with served(folder) as url:
                rows = measured(browser, url, options.keys)
            for name, empty in rows["empty page"].items():
                value = rows["gallery"][name]
                print(f"| {n:,} | {name} | {empty:.3g} | {value:.3g} | {value / empty:.1f} |")
        browser.close()
    if options.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
