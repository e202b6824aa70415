"""``naturalize review`` itself: what it refuses, what it prints, how it stops and goes on."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from naturalize.base.artifacts import writing
from naturalize.base.errors import SettingsError
from naturalize.cli.app import run_app
from naturalize.review.app import bound
from naturalize.review.service import users
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow

CLASSES = ["BA", "EO", "LY", "SNE"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A review of 300 cells, as the command leaves it."""
    settings: dict[str, Any] = {
        "name": "monday",
        "created": "2026-11-28T12:00:00+00:00",
        "model": "pbc11",
        "weights_hash": "",
        "classes": CLASSES,
        "bins": CLASSES,
        "keys": {},
        "root": str(tmp_path),
        "target": 100,
        "rules": [],
        "set_share": None,
        "input": "folder",
        "heat": False,
        "shown": 60,
        "platelets": None,
        "left_out": {},
        "source": ["images"],
    }
    with writing(tmp_path / "monday", "review") as partial:
        Review.create(partial, settings, (CellRow(f"{i}.png") for i in range(300)))
    return tmp_path / "monday"


def failed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run the command, which must end with code 2; return what it says."""
    with pytest.raises(SystemExit) as ended:
        run_app(["review", *map(str, words)])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    return said


def test_a_library_that_is_missing_is_named_with_its_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "fastapi" else real(name)
    )
    assert "FastAPI is not installed; run: pip install 'naturalize[review]'" in failed(
        capsys, folder
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--host", "0.0.0.0"], "--add-user NAME:admin"),
        (["--host", "192.0.2.1"], "--add-user NAME:admin"),
        (["--public-name", "review.lab"], "--add-user NAME:admin"),
        (["--certificate", "no.pem", "--key", "no.key"], "no such file"),
        (["--add-user", "meier"], "expected NAME:ROLE"),
        (["--add-user", "meier:chief"], "choose from: reader, reviewer, admin"),
        (["--add-user", "meier:admin", "--password-file", "no.txt"], "no.txt"),
        (["--name", ""], "--name"),
        (["--name", "a\nb"], "--name"),
        (["--name", "<b>"], "--name"),
        (["--certificate", __file__, "--key", __file__], "PEM"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    folder: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in failed(capsys, folder, "--no-browser", *words)


def test_a_place_that_holds_other_files_is_refused_before_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds files that naturalize did not write" in failed(
        capsys, tmp_path / "images", "-o", tmp_path, "--no-browser"
    )


def test_a_port_that_is_taken_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "choose another with --port" in failed(
            capsys, folder, "--no-browser", "--port", port
        )


@pytest.mark.parametrize("host", ["not a host", "a..b", "x" * 300, "ä" * 70 + ".lab"])
def test_an_address_that_is_none_is_said(host: str) -> None:
    with pytest.raises(SettingsError, match="cannot listen"):
        bound(host, 0)


@pytest.mark.parametrize("password", ["", "short", "x" * 2000])
def test_a_password_that_is_no_password_is_refused(
    folder: Path, tmp_path: Path, password: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text(password)
    words = ("--add-user", "meier:admin", "--password-file", tmp_path / "p.txt")
    assert "password" in failed(capsys, folder, *words)


def test_a_user_is_added_and_given_another_role(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.txt").write_text("a long password\nnot this line\n")
    for role in ("reviewer", "admin"):
        words = ["--add-user", f"meier:{role}", "--password-file", str(tmp_path / "p.txt")]
        run_app_to_its_end(["review", str(folder), *words])
        assert capsys.readouterr().out == f"user: meier ({role})\n"
    review = Review.open(folder)
    assert [(u.name, u.role, u.active) for u in users.listed(review)] == [("meier", "admin", True)]
    assert users.login(review, "meier", "a long password", "127.0.0.1").actor.role == "admin"
    review.close()


def run_app_to_its_end(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_app(words)
    assert ended.value.code == 0


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Serve a review by the command, and open it."""
    command = [sys.executable, "-m", "naturalize", "review", str(folder), "--no-browser"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "--port", "0"], stdout=pipe, stderr=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == f"review: {folder}\n"
        address = server.stdout.readline().removeprefix("address: ").strip()
        with httpx.Client(base_url=address, timeout=60) as client:
            session = client.get("/api/v1/session").json()
            client.headers["X-CSRF-Token"] = session.get("csrf", "")
            try:
                yield server, client
            finally:
                server.kill()


@pytest.mark.slow
def test_a_review_has_one_server_and_ctrl_c_stops_it_cleanly(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(folder) as (server, _):
        assert f"process {server.pid}" in failed(capsys, folder, "--no-browser", "--port", 0)
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=60)
        assert server.returncode == 0
        assert "Traceback" not in said
        assert "goes on" in said.replace("\n", " ")
    assert not list(folder.glob("*-wal"))


@pytest.mark.slow
def test_an_address_that_a_client_makes_up_is_not_believed(folder: Path) -> None:
    review = Review.open(folder)
    users.add(review, "ada", "password of ada", "admin")
    review.close()
    with served(folder) as (_, client):
        tries = [
            client.post(
                "/api/v1/login",
                json={"name": f"somebody {number}", "password": "a guess"},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
            ).status_code
            for number in range(25)
        ]
    assert tries[0] == 401
    assert tries[-1] == 429


@pytest.mark.slow
def test_after_a_kill_every_acknowledged_change_is_there(folder: Path) -> None:
    wanted: dict[int, int] = {}
    with served(folder) as (server, client):
        threading.Timer(1.0, os.kill, (server.pid, signal.SIGKILL)).start()
        begin = time.monotonic()
        try:
            for number in range(100_000):
                cell = number % 300
                form = {
                    "cells": [cell + 1],
                    "versions": [number // 300],
                    "label": CLASSES[number % 4],
                }
                answer = client.post("/api/v1/changes", json=form)
                assert answer.status_code == 200
                wanted[cell] = number % 4
                assert time.monotonic() - begin < 60
        except httpx.HTTPError:
            pass
    assert wanted
    with served(folder) as (_, client):
        labels = client.get("/api/v1/cells").json()["label"]
    unacknowledged = [cell for cell, label in wanted.items() if labels[cell] != label]
    assert len(unacknowledged) <= 1  # the one whose answer was on its way
