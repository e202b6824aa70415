"""The interface of a review: what it answers, and what it refuses."""

from __future__ import annotations

import errno
import io
import logging
import re
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.pool import Pool

from naturalize.base.errors import SettingsError
from naturalize.base.images import encode_image
from naturalize.review.api.limits import Limits
from naturalize.review.api.room import TOKEN, Serving
from naturalize.review.app import create_app, serving_of
from naturalize.review.pages.printed import PLOTS
from naturalize.review.pages.render import static_address
from naturalize.review.service import users
from naturalize.review.service.deliver import exports
from naturalize.review.service.intake import added
from naturalize.review.service.intake.added import Added
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow
from naturalize.review.store.database import BusyError

CLASSES = ["BA", "EO", "LY", "SNE"]
BINS = ["SNE", "EO", "BA", "LY"]
API = "/api/v1"
HOST = "http://127.0.0.1:8765"
CUT = {"Content-Type": "multipart/form-data; boundary=b"}
PICTURE = encode_image(np.full((60, 80, 3), 200, np.uint8))

Start = Callable[..., TestClient]


def rows(n: int = 8) -> list[CellRow]:
    """Cells of one image each; the model says LY, EO, … in turn, of each fourth nothing."""
    made = []
    for i in range(n):
        label = [None, "LY", "EO", "SNE"][i % 4]
        probabilities = np.full(4, 0.1, np.float32)
        probabilities[CLASSES.index(label or "BA")] = 0.7
        made.append(
            CellRow(
                path=f"cell {i}.png",
                model_label=label,
                confidence=0.7,
                probabilities=probabilities,
                candidates=("LY", "BA"),
                flag="unsure: two classes" if i == 0 else "",
                doubt=1 - i / n,
                cluster=i // 4,
                rank=i,
                area=100.0 + i,
                taken=1.0e9 + i,
            )
        )
    return made


def made(place: Path) -> Path:
    """Write a review of eight cells, and return its folder."""
    images, folder = place / "images", place / "monday"
    images.mkdir()
    folder.mkdir()
    for row in rows():
        (images / row.path).write_bytes(PICTURE)
    settings = {
        "name": "monday",
        "created": "2026-11-28T12:00:00+00:00",
        "model": "pbc11",
        "weights_hash": "",
        "classes": CLASSES,
        "bins": BINS,
        "keys": {"SNE": "1", "EO": "2", "BA": "3", "LY": "4"},
        "root": str(images),
        "target": 100,
        "rules": [],
        "set_share": 0.9,
        "input": "folder",
        "heat": False,
        "shown": 60,
        "platelets": None,
        "left_out": {},
        "source": ["images"],
    }
    Review.create(folder, settings, rows())
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A review of eight cells."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A browser of a server whose review no test changes."""
    app = create_app(made(tmp_path_factory.mktemp("steady")), Serving("meier"))
    with TestClient(app, base_url=HOST) as client:
        client.headers[TOKEN] = client.get(f"{API}/session").json()["csrf"]
        yield client


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start a server of the review, and give a browser of it; several may be started."""
    clients: list[TestClient] = []

    def started(limits: Limits | None = None, *, with_users: bool = False) -> TestClient:
        serving = Serving("meier", users=with_users, limits=limits or Limits())
        client = TestClient(create_app(folder, serving), base_url=HOST)
        client.__enter__()
        clients.append(client)
        if not with_users:
            client.headers[TOKEN] = client.get(f"{API}/session").json()["csrf"]
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


def add_users(folder: Path) -> None:
    review = Review.open(folder)
    for name, role in (("ada", "admin"), ("rita", "reviewer"), ("leo", "reader")):
        users.add(review, name, f"password of {name}", role)
    review.close()


def log_in(client: TestClient, name: str) -> TestClient:
    """Log in, in a browser of its own."""
    other = TestClient(client.app, base_url=HOST)
    answer = other.post(f"{API}/login", json={"name": name, "password": f"password of {name}"})
    assert answer.status_code == 200, answer.text
    other.headers[TOKEN] = answer.json()["csrf"]
    return other


def change(client: TestClient, cells: list[int], versions: list[int], **more: Any) -> Any:
    form = {"reading": 1, "cells": cells, "versions": versions, "kind": "label", **more}
    return client.post(f"{API}/changes", json=form)


def trail(client: TestClient, kind: str) -> list[dict[str, Any]]:
    events = client.get(f"{API}/trail").json()["events"]
    return [event for event in events if event["kind"] == kind]


def test_a_session_says_what_is_reviewed(steady: TestClient) -> None:
    session = steady.get(f"{API}/session").json()
    assert session["user"] == "meier"
    assert session["role"] == "admin"
    assert [each["code"] for each in session["classes"]] == BINS
    assert session["classes"][0]["name"] == "segmented neutrophil"
    assert session["reading"]["status"] == "open"
    assert session["total"] == 8
    assert session["progress"] == {"total": 8, "unidentified": 2, "unseen": 8, "seen": 0}


def test_columns_have_one_length_and_indices_of_bins(steady: TestClient) -> None:
    answer = steady.get(f"{API}/cells")
    assert answer.headers["content-encoding"] == "gzip"
    columns = answer.json()
    lengths = {len(v) for k, v in columns.items() if isinstance(v, list) and k != "flags"}
    assert lengths == {8}
    assert columns["ids"] == list(range(1, 9))
    assert columns["label"] == [-1, BINS.index("LY"), BINS.index("EO"), BINS.index("SNE")] * 2
    assert columns["flags"][columns["flag"][0]] == "unsure: two classes"


def test_a_change_is_there_for_others_and_can_be_taken_back(start: Start) -> None:
    client = start()
    before = client.get(f"{API}/cells").json()
    answer = change(client, [1, 2], [0, 0], label="BA").json()
    assert answer["cells"] == [[1, 2, 1, 1], [2, 2, 1, 1]]
    assert answer["counts"]["BA"] == 2
    assert answer["counts"]["unidentified"] == 1
    assert answer["progress"]["seen"] == 2
    seen = client.get(f"{API}/events", params={"after": before["event"]}).json()
    assert sorted(seen["cells"]) == [[1, 2, 1, 1], [2, 2, 1, 1]]
    undone = client.post(f"{API}/undo", json={"reading": 1}).json()
    assert sorted(cell[:3] for cell in undone["cells"]) == [[1, -1, 0], [2, 3, 0]]
    redone = client.post(f"{API}/redo", json={"reading": 1}).json()
    assert sorted(cell[:3] for cell in redone["cells"]) == [[1, 2, 1], [2, 2, 1]]


def test_the_later_of_two_is_told_and_nothing_is_lost(start: Start, folder: Path) -> None:
    add_users(folder)
    client = start(with_users=True)
    ada, rita = log_in(client, "ada"), log_in(client, "rita")
    assert change(ada, [1], [0], label="BA").status_code == 200
    late = change(rita, [1], [0], label="EO")
    assert late.status_code == 409
    assert late.json()["error"]["code"] == "conflict"
    assert late.json()["error"]["conflicts"][0]["user"] == "ada"
    assert late.json()["error"]["conflicts"][0]["label"] == "BA"
    both = change(rita, [1, 2], [0, 0], label="EO")
    assert both.status_code == 200
    assert [cell[0] for cell in both.json()["cells"]] == [2]
    assert [conflict["id"] for conflict in both.json()["conflicts"]] == [1]


def test_a_cell_has_its_probabilities_and_its_history(start: Start) -> None:
    client = start()
    change(client, [2], [0], label="SNE")
    cell = client.get(f"{API}/cells/2").json()
    assert cell["label"] == "SNE"
    assert cell["model_label"] == "LY"
    assert cell["probabilities"]["LY"] == pytest.approx(0.7)
    assert [(e["user"], e["before"], e["after"]) for e in cell["history"]] == [
        ("meier", "LY", "SNE")
    ]


def test_pictures_are_kept_by_the_browser_by_name(steady: TestClient) -> None:
    answer = steady.get(f"{API}/cells/1/thumbnail")
    assert answer.headers["content-type"].startswith("image/")
    again = steady.get(
        f"{API}/cells/1/thumbnail", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_a_reading_is_signed_only_when_every_cell_is_settled(start: Start) -> None:
    client = start()
    blocked = client.post(f"{API}/sign", json={"reading": 1})
    assert blocked.status_code == 409
    assert blocked.json()["error"]["code"] == "blocked"
    change(client, list(range(1, 9)), [0] * 8, label="LY")
    assert client.post(f"{API}/sign", json={"reading": 1}).json()["signed_by"] == "meier"
    closed = change(client, [1], [1], label="BA")
    assert closed.status_code == 409
    assert closed.json()["error"]["code"] == "closed"
    assert client.post(f"{API}/reopen", json={"reading": 1}).status_code == 422
    answer = client.post(f"{API}/reopen", json={"reading": 1, "reason": "one was wrong"})
    assert answer.json()["status"] == "open"


FOREIGN = [
    ({"Host": "attacker.example:8765"}, "host"),
    ({"Host": ""}, "host"),
    ({"Origin": "https://attacker.example"}, "origin"),
    ({"Origin": "http://127.0.0.1:9999"}, "origin"),
    ({"Origin": "null"}, "origin"),
    ({"Sec-Fetch-Site": "cross-site"}, "origin"),
    ({TOKEN: "of another session"}, "csrf"),
    ({TOKEN: ""}, "csrf"),
]


@pytest.mark.parametrize(("headers", "code"), FOREIGN)
def test_a_change_from_elsewhere_is_refused(
    steady: TestClient, headers: dict[str, str], code: str, caplog: pytest.LogCaptureFixture
) -> None:
    form = {"reading": 1, "cells": [1], "versions": [0], "label": "BA"}
    with caplog.at_level(logging.WARNING, "naturalize.review"):
        answer = steady.post(f"{API}/changes", json=form, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == code
    assert "refused 403" in caplog.text
    assert steady.get(f"{API}/cells").json()["version"] == [0] * 8
    assert f"403 'POST {API}/changes'" in trail(steady, "refused")[-1]["reason"]


def test_a_change_from_its_own_pages_is_taken(start: Start) -> None:
    client = start()
    client.headers.update({"Origin": HOST, "Sec-Fetch-Site": "same-origin"})
    assert change(client, [1], [0], label="BA").status_code == 200


def test_a_page_of_another_name_gets_nothing(steady: TestClient) -> None:
    answer = steady.get(f"{API}/session", headers={"Host": "attacker.example"})
    assert answer.status_code == 403
    assert "csrf" not in answer.json()


@pytest.mark.parametrize(
    "form",
    [
        {"cells": [1], "versions": [0], "label": "XX"},
        {"cells": [1], "versions": [0], "label": "<b>"},
        {"cells": [1], "versions": [0], "label": 3},
        {"cells": ["1; DROP TABLE cell"], "versions": [0], "label": "BA"},
        {"cells": [1], "versions": [], "label": "BA"},
        {"cells": [1, 1], "versions": [0, 0], "label": "BA"},
        {"cells": [], "versions": [], "label": "BA"},
        {"cells": [10**30], "versions": [0], "label": "BA"},
        {"cells": [1], "versions": [0], "label": "BA", "reading": 7},
        {"cells": [1], "versions": [0], "label": "BA", "kind": "sign"},
        {"cells": [1], "versions": [0], "label": "BA", "labell": "BA"},
        {"cells": [99], "versions": [0], "label": "BA"},
    ],
)
def test_a_change_of_wrong_values_is_refused_and_stores_nothing(
    steady: TestClient, form: dict[str, Any]
) -> None:
    answer = steady.post(f"{API}/changes", json=form)
    assert answer.status_code in (404, 422)
    assert answer.json()["error"]["message"]
    assert steady.get(f"{API}/cells").json()["version"] == [0] * 8


@pytest.mark.parametrize(
    "path",
    [
        "cells/0", "cells/-1", "cells/99", "cells/x", "cells/1e3", "cells/99999999999999999999",
        "cells/..%2F..%2Freview.db/full", "cells/99/full", "cells/99/thumbnail", "exports/exe",
        "exports/..%2Freview.db", "atlas/..%2F..", "uploads/..%2Freview.db",
        "uploads/0123456789abcdef", "cells/1/heat?label=XX", "nothing",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said_in_one_form(steady: TestClient, path: str) -> None:
    answer = steady.get(f"{API}/{path}")
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", ["..%2Freview.db", "%2e%2e/app.py", "../render.py", "%00"])
def test_static_files_are_those_of_the_pages_only(steady: TestClient, path: str) -> None:
    assert steady.get(f"{static_address()}/{path}").status_code == 404


def is_protected(answer: Any) -> bool:
    """Whether an answer has the headers that keep a browser from misusing it."""
    policy = answer.headers.get("content-security-policy", "")
    return (
        "default-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
        and "unsafe" not in policy
        and answer.headers.get("x-content-type-options") == "nosniff"
        and answer.headers.get("x-frame-options") == "DENY"
        and answer.headers.get("referrer-policy") == "no-referrer"
    )


@pytest.mark.parametrize(
    ("status", "method", "path", "more"),
    [
        (200, "GET", f"{API}/session", {}),
        (200, "GET", "/gallery", {}),
        (200, "GET", f"{static_address()}/style.css", {}),
        (303, "GET", "/", {}),
        (400, "POST", f"{API}/uploads", {"content": b"--b\r\nx", "headers": CUT}),
        (403, "POST", f"{API}/undo", {"headers": {TOKEN: "wrong"}}),
        (403, "GET", "/gallery", {"headers": {"Host": "elsewhere"}}),
        (404, "GET", f"{API}/nothing", {}),
        (404, "GET", f"{static_address()}/nothing.js", {}),
        (404, "GET", "/static/of-another-version/style.css", {}),
        (405, "DELETE", f"{API}/session", {}),
        (405, "POST", f"{static_address()}/style.css", {}),
        (409, "POST", f"{API}/sign", {"json": {"reading": 1}}),
        (413, "POST", f"{API}/undo", {"headers": {"Content-Length": "99999999"}}),
        (422, "POST", f"{API}/changes", {"json": {}}),
        (422, "POST", f"{API}/uploads", {"content": b"x"}),
    ],
)
def test_every_answer_has_the_headers_that_protect_it(
    steady: TestClient, status: int, method: str, path: str, more: dict[str, Any]
) -> None:
    answer = steady.request(method, path, follow_redirects=False, **more)
    assert answer.status_code == status
    assert is_protected(answer)


def test_what_fails_in_the_server_is_said_and_protected_too(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(folder, Serving("meier"))

    @app.get(f"{API}/raises/{{status}}")
    def raises(status: int) -> None:
        if status == 0:
            raise RuntimeError("the secret of the server")
        if status == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        if status == 2:
            raise BusyError("another program holds it")
        raise HTTPException(status)

    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        for status in range(300, 600, 7):
            answer = client.get(f"{API}/raises/{status}", follow_redirects=False)
            assert (answer.status_code, is_protected(answer)) == (status, True)
        assert [client.get(f"{API}/raises/{n}").status_code for n in (1, 2)] == [507, 503]
        broken = client.get(f"{API}/raises/0")
    assert (broken.status_code, is_protected(broken)) == (500, True)
    assert broken.json()["error"]["code"] == "internal"
    assert "secret" not in broken.text
    assert "the secret of the server" in caplog.text


def test_a_full_disk_is_said_and_changes_nothing(start: Start, folder: Path) -> None:
    client = start()

    def full(link: sqlite3.Connection, *_: Any) -> None:
        pages = link.execute("PRAGMA page_count").fetchone()[0]
        link.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Pool, "checkout", full)
    try:
        big = client.put(f"{API}/settings", json={"rules": ["LY > " + "1" * 190] * 100})
        refused = client.post(f"{API}/undo", json={}, headers={TOKEN: "wrong"})
    finally:
        event.remove(Pool, "checkout", full)
    assert (big.status_code, big.json()["error"]["code"]) == (507, "no-space")
    assert refused.status_code == 403
    assert client.get(f"{API}/session").json()["rules"] == []


def test_a_comparison_is_made_once_for_each_state(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    compared = exports.compared

    def counted(*of: Any) -> dict[str, Any]:
        made.append(1)
        return compared(*of)

    monkeypatch.setattr(exports, "compared", counted)
    client = start()
    asked = [f"{API}/comparison", *(f"{API}/comparison/LY/{kind}" for kind in PLOTS)]
    change(client, [2, 3], [0, 0], label="LY")
    answers = [client.get(path) for path in asked]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(made) == 1
    assert answers[0].json()["cells"] == 2
    change(client, [4], [0], label="LY")
    assert client.get(asked[0]).json()["cells"] == 3
    client.post(f"{API}/undo", json={"reading": 1})
    assert client.get(asked[0]).json() == answers[0].json()
    client.put(f"{API}/settings", json={"bins": ["LY", "EO", "BA", "SNE"]})
    assert client.get(asked[0]).json()["classes"] == ["LY", "EO", "BA", "SNE"]
    assert len(made) == 4


def test_a_comparison_that_is_held_is_for_those_who_may_see_it(start: Start) -> None:
    ada, asked = start(), [f"{API}/comparison", f"{API}/comparison/LY/{PLOTS[0]}"]
    change(ada, [2, 3], [0, 0], label="LY")
    assert [ada.get(path).status_code for path in asked] == [200] * 2
    room = ada.app.state.room
    ada.app.state.room = replace(room, serving=replace(room.serving, name="rita"))
    assert [ada.get(path).status_code for path in asked] == [200] * 2
    assert ada.post(f"{API}/second").status_code == 200
    assert [ada.get(path).status_code for path in asked] == [403] * 2
    ada.app.state.room = room
    assert [ada.get(f"{path}?reading=2").status_code for path in asked] == [403] * 2
    assert [ada.get(path).status_code for path in asked] == [200] * 2


def test_an_administrator_replaces_the_second_reader(start: Start, folder: Path) -> None:
    add_users(folder)
    review = Review.open(folder)
    users.add(review, "dan", "password of dan", "reviewer")
    review.close()
    client = start(with_users=True)
    ada, rita = log_in(client, "ada"), log_in(client, "rita")
    change(ada, [2, 3], [0, 0], label="LY")
    rita.post(f"{API}/second")
    change(rita, [2, 3], [0, 0], label="EO", reading=2)
    first = rita.get(f"{API}/comparison?reading=2").json()
    assert first["cells"] == 2
    form = {"reader": "dan", "reason": "rita left"}
    assert rita.put(f"{API}/second", json=form).status_code == 403
    assert ada.put(f"{API}/second", json={"reader": "dan"}).status_code == 422
    assert ada.put(f"{API}/second", json=form | {"reader": "nobody"}).status_code == 404
    assert ada.put(f"{API}/second", json=form | {"reader": "ada"}).status_code == 403
    assert ada.get(f"{API}/session").json()["second"] == "rita"
    assert rita.get(f"{API}/session").json()["second"] is None
    assert ada.put(f"{API}/second", json=form).json()["status"] == "open"
    dan = log_in(client, "dan")
    assert dan.get(f"{API}/session").json()["reading"]["number"] == 2
    # nothing of the old reader is in what is held
    assert dan.get(f"{API}/comparison?reading=2").status_code == 422
    assert rita.get(f"{API}/comparison?reading=2").status_code == 403
    assert ada.get(f"{API}/session").json()["second"] == "dan"
    assert trail(ada, "replace")[0]["reason"] == "2 of 8 cells seen; rita left"


def test_whom_a_bundle_names_is_in_it_and_nowhere_else(
    start: Start, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = start()
    change(client, [2, 3], [0, 0], label="LY")
    named = {"patient": "Confidential 4711", "specimen": "Specimen/confidential-4711"}
    with caplog.at_level(logging.DEBUG):
        answer = client.post(f"{API}/exports/fhir", json={"reading": 1, **named})
        wrong = [
            client.post(f"{API}/exports/fhir", json={"reading": 1, **named, **more}).status_code
            for more in (
                {"specimen": "Patient/Confidential-4711"},
                {"patient": "Confidential " * 50},
            )
        ]
        far = client.post(f"{API}/exports/fhir", json=named, headers={TOKEN: "wrong"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="monday-1-fhir.json"'
    assert (
        answer.json()["entry"][0]["resource"]["subject"]["identifier"]["value"] == named["patient"]
    )
    assert (wrong, far.status_code) == ([422, 422], 403)
    assert "subject" not in client.get(f"{API}/exports/fhir").json()["entry"][0]["resource"]
    kept = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"export" in kept
    assert b"confidential" not in kept.lower()
    assert "confidential" not in caplog.text.lower()


def test_a_class_may_have_any_name(tmp_path: Path) -> None:
    code = "B&T/'it' \"4\" $\\frac$ $x Ω²"
    (tmp_path / "r").mkdir()
    cells = [CellRow(f"{i}/a.png", model_label=code) for i in range(4)]
    settings = {"name": "r", "classes": [code, "SNE"], "root": str(tmp_path), "model": "pbc11"}
    Review.create(tmp_path / "r", settings, cells)
    with TestClient(create_app(tmp_path / "r", Serving("meier")), base_url=HOST) as client:
        client.headers[TOKEN] = client.get(f"{API}/session").json()["csrf"]
        assert change(client, [1, 2, 3], [0, 0, 0], label=code).status_code == 200
        assert change(client, [4], [0], label="SNE").status_code == 200
        name = quote(code, safe="")
        assert len(client.get(f"{API}/atlas/{name}").json()["cells"]) == 4
        for kind in PLOTS:
            plot = client.get(f"{API}/comparison/{name}/{kind}")
            assert plot.status_code == 200
            assert ElementTree.fromstring(plot.text).tag.endswith("svg")
        page = client.get("/report")
        assert page.status_code == 200


#: What differs between two runs without anybody's doing.
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(\+00:00|Z| UTC)?|urn:uuid:[\w-]+")


def asked(client: TestClient) -> dict[str, tuple[int, str]]:
    """Ask for all that there is, of each reading; return the answers without their times."""
    places = {"cell": "2", "label": "LY", "code": "LY", "kind": PLOTS[0], "reference": "1000000002"}
    schema = client.get(f"{API}/openapi.json").json()["paths"]
    paths = [path for path, methods in schema.items() if "get" in methods]
    paths += ["/report", *(f"{API}/exports/{format}" for format in ("csv", "json"))]
    found = {}
    for path in paths:
        for reading in (1, 2):
            full = re.sub(r"\{(\w+)\}", lambda name: places.get(name[1], "0" * 16), path)
            answer = client.get(full, params={"reading": reading})
            text = answer.text.replace(client.headers[TOKEN], "")
            found[f"{full} {reading}"] = answer.status_code, MOMENT.sub("", text)
    return found


def blind(place: Path, *, first: str, gone: str, second: str) -> list[dict[str, tuple[int, str]]]:
    """Return what the second and the first reader are told where all name cells as they do."""
    place.mkdir()
    with TestClient(create_app(made(place), Serving("ada")), base_url=HOST) as client:
        room = client.app.state.room
        client.headers[TOKEN] = client.get(f"{API}/session").json()["csrf"]

        def work(name: str) -> TestClient:
            client.app.state.room = replace(room, serving=replace(room.serving, name=name))
            return client

        change(work("ada"), [1, 2, 3], [0, 0, 0], label=first)
        assert work("ben").post(f"{API}/second").status_code == 200
        change(client, [2, 4], [0, 0], label=gone, reading=2)
        client.get(f"{API}/comparison", params={"reading": 2})
        form = {"reader": "dan", "reason": "ben is ill"}
        assert work("chief").put(f"{API}/second", json=form).status_code == 200
        change(work("dan"), [2, 5], [0, 0], label=second, reading=2)
        return [asked(client), asked(work("ada"))]


def test_nothing_that_a_reader_is_told_depends_on_what_the_other_says(tmp_path: Path) -> None:
    to_second, to_first = blind(tmp_path / "1", first="BA", gone="BA", second="EO")
    others, _ = blind(tmp_path / "2", first="EO", gone="SNE", second="EO")
    assert others == to_second
    _, others = blind(tmp_path / "3", first="BA", gone="BA", second="LY")
    assert others == to_first
    assert to_second[f"{API}/cells 2"][0] == to_first[f"{API}/cells 1"][0] == 200
    assert to_second[f"{API}/cells 1"][0] == to_first[f"{API}/cells 2"][0] == 403


def test_another_site_gets_nothing_made_here(steady: TestClient) -> None:
    before = trail(steady, "export")
    for site in ("cross-site", "same-site"):
        answer = steady.get(f"{API}/exports/csv", headers={"Sec-Fetch-Site": site})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin")
    assert trail(steady, "export") == before
    # a link to a page may stand anywhere
    assert steady.get("/gallery", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_user_may_have_any_name(start: Start, folder: Path) -> None:
    review = Review.open(folder)
    name = "Máire O'Brien & \"/\\"
    users.add(review, name, f"password of {name}", "admin")
    review.close()
    client = log_in(start(with_users=True), name)
    assert client.get(f"{API}/session").json()["user"] == name
    page = client.get("/trail").text
    assert "O'Brien" not in page  # escaped, in the session too
    assert page.count("</script>") == page.count("<script")
    assert change(client, [1], [0], label="LY").status_code == 200
    for format in ("html", "pdf", "fhir", "csv"):
        assert client.get(f"{API}/exports/{format}").status_code == 200


def test_a_set_that_was_sent_is_not_kept(start: Start, folder: Path) -> None:
    client = start()
    change(client, [2, 3], [0, 0], label="LY")
    answers = [client.get(f"{API}/exports/dataset.zip") for _ in range(2)]
    assert [zipfile.is_zipfile(io.BytesIO(answer.content)) for answer in answers] == [True] * 2
    left = folder / "cache" / "labelled-1-0.zip"
    left.write_bytes(b"x")
    assert list((folder / "cache").glob("*.zip")) == [left]
    start()
    assert not left.exists()


@pytest.mark.parametrize("n", [0, 1])
def test_a_review_of_no_cell_or_one_has_every_page_and_file(tmp_path: Path, n: int) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "a.png").write_bytes(PICTURE)
    settings = {"name": "r", "classes": ["LY", "SNE"], "root": str(tmp_path), "model": "pbc11"}
    Review.create(tmp_path / "r", settings, [CellRow("a.png", model_label="LY")][:n])
    with TestClient(create_app(tmp_path / "r", Serving("meier")), base_url=HOST) as client:
        client.headers[TOKEN] = client.get(f"{API}/session").json()["csrf"]
        for format in ("csv", "json", "html", "pdf", "fhir"):
            assert client.get(f"{API}/exports/{format}").status_code == 200, format
        for page in (
            "gallery",
            "report",
            "differential",
            "sign-off",
            "agreement",
            "trail",
            "atlas",
        ):
            assert client.get(f"/{page}").status_code == 200, page
        assert client.get(f"{API}/cells").json()["ids"] == [1][:n]
        assert client.get(f"{API}/comparison").status_code == 422
        if not n:
            assert client.post(f"{API}/sign", json={"reading": 1}).status_code == 409
            return
        change(client, [1], [0], label="LY")
        compared = client.get(f"{API}/comparison").json()
        assert compared["accuracy"]["share"] == 1
        assert compared["kappa"] == {"value": None, "interval": None}  # chance agrees as well
        assert client.get(f"{API}/exports/dataset.zip").status_code == 200
        assert client.post(f"{API}/sign", json={"reading": 1}).status_code == 200


def test_bodies_are_limited_whether_or_not_they_say_their_length(start: Start) -> None:
    client = start(Limits(body=2_000))

    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * 1_000

    headers = {"Content-Type": "application/json"}
    for content in (b" " * 10_000, pieces()):
        answer = client.post(f"{API}/changes", content=content, headers=headers)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too-large"


def test_who_has_no_session_sees_nothing(start: Start, folder: Path) -> None:
    add_users(folder)
    client = start(with_users=True)
    paths = list(client.get(f"{API}/openapi.json").json()["paths"])
    for path in paths:
        got = client.get(re.sub(r"\{\w+\}", "1", path))
        assert got.status_code in (401, 405), path
    client.cookies.set(client.app.state.room.cookie, "unknown")
    answer = client.get(f"{API}/session")
    assert answer.status_code == 401
    assert "unknown or has expired" in answer.json()["error"]["message"]
    assert client.get("/gallery", follow_redirects=False).headers["location"] == "/login"


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(
    start: Start, folder: Path
) -> None:
    add_users(folder)
    client = start(with_users=True)
    form = {"name": "ada", "password": "password of ada"}
    cookie = client.post(f"{API}/login", json=form).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    room = client.app.state.room
    client.app.state.room = replace(room, serving=replace(room.serving, https=True))
    assert "secure" in client.post(f"{API}/login", json=form).headers["set-cookie"].lower()


def test_a_session_ends_with_its_logout(start: Start, folder: Path) -> None:
    add_users(folder)
    ada = log_in(start(with_users=True), "ada")
    token = ada.cookies[ada.app.state.room.cookie]
    assert ada.post(f"{API}/logout").status_code == 200
    ada.cookies.set(ada.app.state.room.cookie, token)
    assert ada.get(f"{API}/session").status_code == 401


def test_wrong_passwords_are_refused_and_many_of_them_slowed_down(
    start: Start, folder: Path
) -> None:
    add_users(folder)
    client = start(with_users=True)
    statuses = [
        client.post(f"{API}/login", json={"name": name, "password": "x"}).status_code
        for name in ["ada"] * 12
    ]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    right = client.post(f"{API}/login", json={"name": "ada", "password": "password of ada"})
    assert right.status_code == 429


def test_a_role_may_what_it_may(start: Start, folder: Path) -> None:
    add_users(folder)
    client = start(with_users=True)
    leo, rita, ada = (log_in(client, name) for name in ("leo", "rita", "ada"))
    assert leo.get(f"{API}/cells").status_code == 200
    assert change(leo, [1], [0], label="BA").status_code == 403
    assert change(rita, [1], [0], label="BA").status_code == 200
    assert rita.get(f"{API}/users").status_code == 403
    assert rita.put(f"{API}/settings", json={"target": 200}).status_code == 403
    assert rita.post(f"{API}/uploads", files={"files": ("a.png", PICTURE)}).status_code == 403
    new = {"name": "eva", "password": "a long password", "role": "reader"}
    assert rita.post(f"{API}/users", json=new).status_code == 403
    assert "eva" in str(ada.post(f"{API}/users", json=new).json())
    assert ada.post(f"{API}/users", json={**new, "name": "<b>"}).status_code == 422
    assert ada.patch(f"{API}/users", json={"name": "leo", "active": False}).status_code == 200
    assert leo.get(f"{API}/session").status_code == 401
    assert ada.put(f"{API}/settings", json={"target": 200}).json()["target"] == 200


def test_a_local_server_becomes_one_with_users_only_with_an_administrator(folder: Path) -> None:
    with pytest.raises(SettingsError, match="--add-user NAME:admin"):
        serving_of(folder, "0.0.0.0")
    with pytest.raises(SettingsError, match="--add-user NAME:admin"):
        serving_of(folder, "127.0.0.1", public_name="review.lab")
    local = serving_of(folder, "127.0.0.1", name="meier")
    assert (local.users, local.name, local.https) == (False, "meier", False)
    add_users(folder)
    assert serving_of(folder, "127.0.0.1").users
    lab = serving_of(folder, "10.0.0.7", public_name="review.lab")
    assert {"10.0.0.7", "review.lab"} <= lab.hosts
    assert lab.https
    assert lab.origins == {"https://review.lab"}


def put_in(client: TestClient, *files: tuple[str, bytes]) -> Any:
    return client.post(f"{API}/uploads", files=[("files", file) for file in files])


def folder_of(client: TestClient) -> Path:
    return client.app.state.room.folder


def uploads(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in (folder / "uploads").rglob("*"))


def zipped(**entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(f"{name}.png", data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("../../a.png", PICTURE),
        ("<script>alert(1)</script>.png", PICTURE),
        ("a.png", b"no picture"),
        ("a.exe", b"MZ"),
        ("a.zip", zipped(a=PICTURE)[:-30]),
        ("a.zip", zipped(**{"../a": PICTURE})),
        ("a.zip", zipped(a=zipped(a=PICTURE))),
    ],
)
def test_a_file_that_could_do_harm_is_refused_and_nothing_stored(
    steady: TestClient, name: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "naturalize.review"):
        answer = put_in(steady, (name, data))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "refused"
    assert error["files"][0]["reason"]
    assert "refused" in caplog.text
    assert uploads(folder_of(steady)) == []
    assert trail(steady, "refused")
    assert steady.get(f"{API}/session").json()["total"] == 8


def test_files_that_are_too_long_are_refused_while_they_are_read(
    start: Start, folder: Path
) -> None:
    client = start(Limits(file=1_000))
    assert put_in(client, ("a.png", bytes(5_000))).status_code == 413
    client = start(Limits(upload=1_000))
    assert put_in(client, ("a.png", bytes(5_000))).status_code == 413
    client = start(Limits(files=1))
    assert put_in(client, ("a.png", PICTURE), ("b.png", PICTURE)).status_code == 413
    assert uploads(folder) == []


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (b"--b\r\nnonsense", "multipart/form-data; boundary=b"),
        (
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n' + PICTURE,
            "multipart/form-data; boundary=b",
        ),
    ],
)
def test_an_upload_that_is_cut_or_no_upload_leaves_nothing(
    steady: TestClient, content: bytes, kind: str
) -> None:
    answer = steady.post(f"{API}/uploads", content=content, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422)
    assert uploads(folder_of(steady)) == []


def test_what_a_killed_server_left_is_removed(start: Start, folder: Path) -> None:
    for name in (".incoming-1/raw", "0123456789abcdef"):
        (folder / "uploads" / name).mkdir(parents=True)
        (folder / "uploads" / name / "a.png").write_bytes(PICTURE)
    start()
    assert uploads(folder) == []


#: Puts two uploads in; the cells of the first are added, and nothing more happens.
PUT_IN = """
import sys, time
from fastapi.testclient import TestClient
from naturalize.review.api.room import TOKEN, Serving
from naturalize.review.app import create_app
from naturalize.review.service.intake import added
from naturalize.review.store.cells import CellRow

def adding(review, paths, progress):
    review.add([CellRow(path.relative_to(review.folder).as_posix()) for path in paths])
    print("added", flush=True)
    time.sleep(600)

added.add_files = adding
client = TestClient(create_app(sys.argv[1], Serving("meier")), base_url="http://127.0.0.1:8765")
client.headers[TOKEN] = client.get("/api/v1/session").json()["csrf"]
picture = open(sys.argv[2], "rb").read()
for name in ("a.png", "b.png"):
    files = [("files", (name, picture)), ("files", ("bad.txt", b"x"))]
    print(client.post("/api/v1/uploads", files=files).json()["upload"], flush=True)
"""


def test_after_a_kill_a_page_is_told_what_became_of_its_upload(start: Start, folder: Path) -> None:
    picture = str(folder.parent / "images" / "cell 0.png")
    with subprocess.Popen(
        [sys.executable, "-c", PUT_IN, str(folder), picture], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().strip() for _ in range(3)]
        child.kill()
    said.remove("added")
    client = start()
    done, interrupted = (client.get(f"{API}/uploads/{upload}").json() for upload in said)
    assert (done["state"], done["cells"], done["done"], done["total"]) == ("done", 1, 1, 1)
    assert interrupted["state"] == "failed"
    assert "send it again" in interrupted["message"]
    assert [each["name"] for each in interrupted["refused"]] == ["bad.txt"]
    assert client.get(f"{API}/session").json()["total"] == 8 + 1
    assert client.get(f"{API}/cells/9/full").status_code == 200
    assert uploads(folder) == sorted(
        [f"uploads/{said[0]}", f"uploads/{said[0]}/a.png", *(f"uploads/{n}.json" for n in said)]
    )
    again = start()  # a state that is kept, and one that no server wrote
    (folder / "uploads" / "0123456789abcdef.json").write_text("[")
    assert again.get(f"{API}/uploads/{said[0]}").json() == done
    assert again.get(f"{API}/uploads/{said[1]}").json() == interrupted
    assert start().get(f"{API}/uploads/0123456789abcdef").status_code == 404


def adding(review: Review, paths: list[Path], progress: Callable[[int, int], None]) -> Added:
    """Add each image as a cell of no class, as a model that is unsure of all would."""
    progress(1, len(paths))
    names = [path.relative_to(review.folder).as_posix() for path in paths]
    return Added(len(review.add([CellRow(name) for name in names])), [])


def test_images_that_are_put_in_become_cells(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added, "add_files", adding)
    client = start()
    bad = ("b.txt", b"x")
    answer = put_in(client, ("a.png", PICTURE), ("more.zip", zipped(c=PICTURE)), bad)
    assert answer.status_code == 202
    assert [each["name"] for each in answer.json()["refused"]] == ["b.txt"]
    address = f"{API}/uploads/{answer.json()['upload']}"
    for _ in range(600):
        state = client.get(address).json()
        if state["state"] in ("done", "failed"):
            break
        time.sleep(0.1)
    assert state["state"] == "done", state
    assert state["done"] == state["total"] == 2
    assert client.get(f"{API}/session").json()["total"] == 8 + 2
    assert client.get(f"{API}/cells/9/full").status_code == 200
    assert len(trail(client, "upload")) == 1


def test_refusals_in_the_trail_are_limited(start: Start) -> None:
    client = start(Limits(refusals=3))
    for _ in range(10):
        client.post(f"{API}/undo", json={}, headers={TOKEN: "wrong"})
    assert len(trail(client, "refused")) == 3


def test_no_page_and_no_answer_names_another_server(steady: TestClient) -> None:
    for path in ("/docs", "/redoc"):
        assert steady.get(path).status_code == 404
    assert "cdn" not in steady.get(f"{API}/openapi.json").text
