"""How quickly the server of a review answers: opening it, and many who change cells at once.

    python -m benchmarks.review_rate [--cells 10000 100000] [--reviewers 20] [--changes 40]
        [--pause 0.25]

The server is ``naturalize review``, with users, in a process of its own; the reviewers are threads
of this one, each with a connection and a session of its own. A reviewer gives one cell a class,
waits for the answer, pauses for a random time (exponential, ``--pause`` seconds on average, 0:
none) and goes on. References in the same run: a redirect of the same server, which does nothing,
asked for by as many clients in the same rhythm, and a bare SQLite insert that is synced to the disk
as a change is. At the end every acknowledged change must be there.
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from naturalize.base.rng import rng
from naturalize.review.service import users
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow

CLASSES = ["BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE"]
API = "/api/v1"
SEED = 1
PASSWORD = "a password of the benchmark"


def synthetic(n: int) -> Iterator[CellRow]:
    """Yield cells with what the model would say of them; no image belongs to them."""
    draw = rng(SEED, "cells", n)
    for i in range(n):
        shares = draw.dirichlet(np.full(len(CLASSES), 0.2)).astype(np.float32)
        label = CLASSES[int(shares.argmax())] if draw.random() > 0.05 else None
        yield CellRow(
            path=f"slide {i // 500}/cell {i:06d}.jpg",
            model_label=label,
            confidence=float(shares.max()),
            probabilities=shares,
            candidates=tuple(CLASSES[j] for j in np.argsort(-shares)[:2]),
            flag="" if label else "unsure: low confidence",
            doubt=float(1 - shares.max()),
            cluster=i // 40,
            rank=i,
            area=float(draw.integers(2_000, 9_000)),
            taken=1.7e9 + i,
            outline=draw.integers(0, 300, (40, 2)).astype(np.int16),
        )


def make(folder: Path, n: int, reviewers: int) -> None:
    """Write a review of ``n`` cells with its reviewers."""
    folder.mkdir()
    settings = {
        "name": f"{n} cells",
        "created": "2026-11-28T12:00:00+00:00",
        "model": "pbc11",
        "weights_hash": "",
        "classes": CLASSES,
        "bins": CLASSES,
        "keys": {},
        "root": str(folder),
        "target": 100,
        "rules": [],
        "set_share": None,
        "input": "folder",
        "heat": False,
        "shown": 360,
        "platelets": None,
        "left_out": {},
        "source": [],
    }
    Review.create(folder, settings, synthetic(n))
    review = Review.open(folder)
    for number in range(reviewers):
        users.add(review, f"reviewer-{number}", PASSWORD, "reviewer")
    review.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a review in a process of its own, and give its address."""
    command = [sys.executable, "-m", "benchmarks.review_rate", "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield re.sub(r"^address: |/$", "", server.stdout.readline().strip())
        finally:
            server.terminate()


def serve(folder: Path) -> None:
    """Be the server."""
    from naturalize.review.app import bound, create_app, serving_of
    from naturalize.review.app import serve as serve_app

    app = create_app(folder, serving_of(folder, "127.0.0.1"))
    listening = bound("127.0.0.1", 0)
    print(f"address: http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)
    serve_app(app, listening)


def logged_in(address: str, number: int) -> httpx.Client:
    """Return the browser of a reviewer."""
    client = httpx.Client(base_url=address, timeout=60)
    form = {"name": f"reviewer-{number}", "password": PASSWORD}
    answer = client.post(f"{API}/login", json=form).raise_for_status()
    client.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return client


def opening(client: httpx.Client, rounds: int) -> tuple[list[float], list[float], int]:
    """Return seconds until page and columns are there, seconds of the redirect, bytes received."""
    whole, empty, size = [], [], 0
    for _ in range(rounds):
        begin = time.perf_counter()
        client.get("/gallery").raise_for_status()
        answer = client.get(f"{API}/cells").raise_for_status()
        answer.json()
        whole.append(time.perf_counter() - begin)
        size = answer.num_bytes_downloaded
        begin = time.perf_counter()
        client.get("/")
        empty.append(time.perf_counter() - begin)
    return whole, empty, size


def at_once(
    clients: list[httpx.Client], times: int, pause: float, do: Callable[[httpx.Client, int], None]
) -> list[float]:
    """Return the seconds of every call of ``do(client, round)``, by all clients at once."""

    def one(number: int) -> list[float]:
        draw, taken = rng(SEED, "pauses", number), []
        for round_number in range(times):
            time.sleep(draw.exponential(pause) if pause else 0)
            begin = time.perf_counter()
            do(clients[number], number * times + round_number)
            taken.append(time.perf_counter() - begin)
        return taken

    with ThreadPoolExecutor(len(clients)) as pool:
        return [seconds for each in pool.map(one, range(len(clients))) for seconds in each]


def synced_inserts(folder: Path, times: int) -> list[float]:
    """Return the seconds of inserts of one row, each synced to the disk (WAL, synchronous FULL)."""
    base = sqlite3.connect(folder / "reference.db", isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = FULL")
    base.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, text TEXT)")
    taken = []
    for number in range(times):
        begin = time.perf_counter()
        base.execute("INSERT INTO row (text) VALUES (?)", (f"row {number}",))
        taken.append(time.perf_counter() - begin)
    base.close()
    return taken


def line(what: str, seconds: list[float], more: str = "") -> None:
    """Print a row of the table: median and 95th percentile in milliseconds."""
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    print(f"| {what} | {len(seconds)} | {p50:.1f} | {p95:.1f} | {more} |", flush=True)


def measure(n: int, options: argparse.Namespace, place: Path) -> None:
    """Measure one review."""
    folder = place / f"review-{n}"
    make(folder, n, options.reviewers)
    errors: list[str] = []
    wanted: dict[int, int] = {}
    with served(folder) as address:
        clients = [logged_in(address, number) for number in range(options.reviewers)]
        whole, empty, size = opening(clients[0], options.rounds)
        line(f"{n:,} cells: redirect (reference)", empty)
        line(f"{n:,} cells: page and columns", whole, f"{size / 1e6:.2f} MB")
        columns = clients[0].get(f"{API}/cells").json()
        codes = [c["code"] for c in clients[0].get(f"{API}/session").json()["classes"]]

        def change(client: httpx.Client, number: int) -> None:
            label = (columns["label"][number] + 1) % len(codes)
            form = {
                "reading": 1,
                "cells": [columns["ids"][number]],
                "versions": [columns["version"][number]],
                "label": codes[label],
                "kind": "label",
            }
            answer = client.post(f"{API}/changes", json=form)
            if answer.status_code != 200:
                errors.append(answer.text)
            else:
                wanted[number] = label

        do_nothing = at_once(
            clients, options.changes, options.pause, lambda c, _: c.get("/") and None
        )
        line(f"{n:,} cells, {len(clients)} clients: redirect (reference)", do_nothing)
        begin = time.perf_counter()
        taken = at_once(clients, options.changes, options.pause, change)
        rate = len(taken) / (time.perf_counter() - begin)
        line(
            f"{n:,} cells, {len(clients)} reviewers: change",
            taken,
            f"{rate:.0f}/s, {len(errors)} errors",
        )
        after = clients[0].get(f"{API}/cells").json()["label"]
        lost = sum(after[number] != label for number, label in wanted.items())
        print(f"| acknowledged changes that are not there | {len(wanted)} | | | {lost} |")
    line("SQLite insert, synced (reference)", synced_inserts(place, 200))
    for text in errors[:3]:
        print(f"error: {text}", file=sys.stderr)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--changes", type=int, default=40, help="a reviewer")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds, on average")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| what | n | p50 (ms) | p95 (ms) | |\n|---|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory() as place:
        for n in options.cells:
            measure(n, options, Path(place))


if __name__ == "__main__":
    main()
