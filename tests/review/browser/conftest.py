"""A served review, and pages of it in headless chromium."""

import shutil
import sqlite3
import sys
import threading
import time
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


@pytest.fixture(scope="session")
def made_shared(made, tmp_path_factory):
    """The same with two users, anna and bert; passwords are their names thrice.

    Returns its folder and the token of a session of each: passwords are hashed once for all tests.
    """
    from naturalize.review.service import users
    from naturalize.review.service.review import Review

    folder = shutil.copytree(made, tmp_path_factory.mktemp("shared") / made.name)
    review = Review.open(folder)
    tokens = {}
    for name, role in {"anna": "admin", "bert": "reviewer"}.items():
        password = f"{name} {name} {name}"
        users.add(review, name, password, role)
        tokens[name] = users.login(review, name, password, "127.0.0.1").token
    review.close()
    return folder, tokens


class Front:
    """One server for all tests of a worker: it passes requests on to the review of the test.

    Scripts and styles come from the browser's cache, as one address serves them all.
    """

    def __init__(self):
        import uvicorn

        from naturalize.review.app import bound

        self.app, self._running = None, 0
        listening = bound("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(self, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()

    async def __call__(self, scope, receive, send):
        if self.app is None:
            return
        self._running += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._running -= 1

    @contextmanager
    def serving(self, folder, **serving):
        from naturalize.review.api.room import Serving
        from naturalize.review.app import create_app

        self.app = create_app(folder, Serving(**{"name": "anna", **serving}))
        room = self.app.state.room
        try:
            yield room
        finally:
            self.app = None
            while self._running:
                time.sleep(0.01)
            room.uploads.close()
            room.pictures.close()
            room.review.close()

    def close(self):
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="session")
def front(chromium):
    pytest.importorskip("fastapi", reason="naturalize[review] is not installed")
    opened = Front()
    yield opened
    opened.close()


class Windows:
    """Windows of one browser, by what they are like: used again, emptied of what pages keep."""

    def __init__(self, browser):
        self._browser, self._free = browser, {}

    def take(self, **like):
        free = self._free.get(repr(like))
        return free.pop() if free else self._browser.new_context(**like)

    def give_back(self, like, context):
        context.clear_cookies()
        self._free.setdefault(repr(like), []).append(context)


@pytest.fixture(scope="session")
def windows(chromium):
    return Windows(chromium)


class Room:
    """A review of its own, served; `page` opens a page of it in a window of its own."""

    def __init__(self, url, folder, windows, cookie, tokens):
        self.url, self.folder, self.problems = url, folder, []
        self._windows, self._cookie, self._tokens, self._taken = windows, cookie, tokens, []

    def page(self, path="/gallery", *, width=1024, height=640, wait=True, user=None, **context):
        """Open a page, as a user; errors of its scripts and of the policy are kept in `problems`.

        Its window has nothing of other tests but pictures and scripts.
        """
        like = {"viewport": {"width": width, "height": height}, **context}
        opened = self._windows.take(**like)
        self._taken.append((like, opened))
        if user:
            cookie = {"name": self._cookie, "value": self._tokens[user], "url": self.url}
            opened.add_cookies([cookie])
        page = opened.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._said)
        page.goto(self.url + path)
        if wait and path.startswith("/gallery"):
            wait_for_gallery(page)
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
        for like, context in self._taken:
            for page in context.pages:
                page.unroute_all(behavior="ignoreErrors")
                page.evaluate("localStorage.clear()")
                page.close()
            self._windows.give_back(like, context)


def wait_for_gallery(page):
    page.wait_for_selector("html[data-ready]", state="attached")
    page.wait_for_selector(".cell.is-loaded, .cell.is-missing")


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / made.name)


@pytest.fixture
def start(front, windows):
    """Serve a review; no page of it may have had an error in a script."""
    with ExitStack() as stack:

        def opened(folder, tokens=None, **serving):
            served = stack.enter_context(front.serving(folder, **serving))
            room = Room(front.url, folder, windows, served.cookie, tokens)
            rooms.append(room)
            stack.callback(room.close)
            return room

        rooms = []
        yield opened
    assert [problem for room in rooms for problem in room.problems] == []


@pytest.fixture
def room(copied, start):
    return start(copied)


@pytest.fixture
def shared_room(made_shared, start, tmp_path):
    """A review with two reviewers, anna and bert."""
    folder, tokens = made_shared
    return start(shutil.copytree(folder, tmp_path / folder.name), tokens, users=True)
