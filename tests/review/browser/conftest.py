"""A served review, and pages of it in headless chromium."""

import shutil
import sqlite3
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))  # benchmarks are not installed

#: Of Debian; the container has no other sandbox than its own.
CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip

#: Cells of the review that the tests work on.
N = 240


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A review of drawn cells that no test changes."""
    pytest.importorskip("fastapi", reason="naturalize[review] is not installed")
    from benchmarks._review import synthetic_review

    return synthetic_review(tmp_path_factory.mktemp("made") / "review", N, size=120)


def _log_in(page, name):
    page.fill("[name=name]", name)
    page.fill("[name=password]", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#refused:visible")
    page.fill("[name=password]", f"{name} {name} {name}")
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.wait_for_selector(".cell.is-loaded")


@contextmanager
def served(folder, **serving):
    import uvicorn

    from naturalize.review.api.room import Serving
    from naturalize.review.app import bound, create_app

    listening = bound("127.0.0.1", 0)
    app = create_app(folder, Serving(**{"name": "anna", **serving}))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class Room:
    """A review of its own, served; `page` opens a page of it in a browser of its own."""

    def __init__(self, url, folder, chromium):
        self.url, self.folder = url, folder
        self._chromium, self._contexts, self.problems = chromium, [], []

    def page(self, path="/gallery", *, width=1280, height=800, wait=True, **context):
        """Open a page; errors of its scripts and of the policy are kept in `problems`."""
        opened = self._chromium.new_context(viewport={"width": width, "height": height}, **context)
        self._contexts.append(opened)
        page = opened.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._said)
        page.goto(self.url + path)
        if wait and path.startswith("/gallery"):
            page.wait_for_selector("html[data-ready]", state="attached")
            page.wait_for_selector(".cell.is-loaded, .cell.is-missing")
        return page

    def logged_in(self, name):
        """Open the gallery as a user, who mistypes the password once."""
        page = self.page("/login")
        _log_in(page, name)
        return page

    def _said(self, message):
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def sql(self, text, *values):
        with sqlite3.connect(self.folder / "review.db") as link:
            return link.execute(text, values).fetchall()

    def page_code(self, page, bin):
        """Return the code of a bin, as the page shows it."""
        return page.locator(f"#bins [data-bin='{bin}'] .tab-code").inner_text()

    def close(self):
        for context in self._contexts:
            context.close()


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / made.name)


@pytest.fixture
def start(copied, chromium):
    """Serve the copied review; no page of it may have had an error in a script."""
    with ExitStack() as stack:

        def opened(**serving):
            url = stack.enter_context(served(copied, **serving))
            room = Room(url, copied, chromium)
            rooms.append(room)
            stack.callback(room.close)
            return room

        rooms = []
        yield opened
    assert [problem for room in rooms for problem in room.problems] == []


@pytest.fixture
def room(start):
    return start()


@pytest.fixture
def shared_room(copied, start):
    """A review with two reviewers, anna and bert, who log in; passwords are their names thrice."""
    from naturalize.review.service import users
    from naturalize.review.service.review import Review

    review = Review.open(copied)
    for name, role in {"anna": "admin", "bert": "reviewer"}.items():
        users.add(review, name, f"{name} {name} {name}", role)
    review.close()
    return start(users=True)
