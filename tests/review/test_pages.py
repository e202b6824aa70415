"""The pages: names stay text, and the colours are the house's."""

import re

import pytest

from naturalize.base.plots import PALETTE
from naturalize.review.pages.render import STATIC_FOLDER, page, static_address

HOSTILE = "</script><script>alert(1)</script><b>x"


def session(**changes):
    reading = {"number": 1, "status": "open", "blind": False, "signed_by": None, "signed_at": None}
    progress = {"total": 0, "unidentified": 0, "unseen": 0, "seen": 0}
    return {
        "name": "x", "user": "anna", "role": "admin", "users": True, "csrf": "t", "model": "pbc11",
        "reading": reading, "readings": [reading], "classes": [], "progress": progress,
        **changes,
    }  # fmt: skip


PAGES = ["gallery", "upload", "atlas"]


@pytest.mark.parametrize("name", PAGES)
def test_names_of_users_and_reviews_stay_text(name):
    html = page(name, session=session(name=HOSTILE, user=HOSTILE))
    assert "<script>alert" not in html
    assert "<b>x" not in html


@pytest.mark.parametrize("name", [*PAGES, "login"])
def test_pages_hold_no_script_or_style_that_the_policy_would_stop(name):
    html = page(name, session=None if name == "login" else session(), name="x")
    assert not re.search(r"\sstyle=|<style|\son\w+=", html)
    scripts = re.findall(r"<script([^>]*)>", html)
    assert scripts
    assert all("src=" in one or 'type="application/json"' in one for one in scripts)
    assert "http:" not in html
    assert "https:" not in html


def test_a_reader_is_not_offered_what_only_administrators_may_do():
    html = page("gallery", session=session(role="reader"))
    assert 'href="/upload"' not in html
    assert 'href="/users"' not in html


def test_every_file_that_pages_and_scripts_load_is_there():
    texts = [page(name, session=session()) for name in PAGES]
    loaded = {
        found for text in texts for found in re.findall(rf"{static_address()}/([\w.-]+)", text)
    }
    for script in STATIC_FOLDER.glob("*.js"):
        loaded |= set(re.findall(r'from "\./([\w.-]+)"', script.read_text()))
    assert "style.css" in loaded
    assert loaded <= {path.name for path in STATIC_FOLDER.iterdir()}


def test_colours_of_the_pages_are_those_of_the_reports():
    text = (STATIC_FOLDER / "style.css").read_text()
    found = dict(re.findall(r"--([\w-]+): light-dark\((#\w+, #\w+)\)", text))
    ours = {name: ", ".join(both) for name, both in PALETTE.items()}
    assert {name: both for name, both in found.items() if name in ours} == {
        name: both for name, both in ours.items() if not name.startswith("run-")
    }
