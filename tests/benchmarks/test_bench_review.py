"""The scripted reviewer: what is looked at, what it costs, what comes out."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks._review import synthetic_review

from benchmarks import review_reviewer as bench
from naturalize.review.service.review import Review


def settled(tmp_path: Path, error: float, sample: int) -> dict:
    folder = synthetic_review(tmp_path / f"r{error}-{sample}", 400, size=64)
    review = Review.open(folder)
    root = Path(review.settings.root)
    review.close()
    files = {file: file.parent.name for file in root.glob("*/*.jpg")}
    options = Namespace(look=1.0, seed=0, sample=sample)
    return bench.settle(folder, files, error, options)


def test_who_looks_at_every_cell_and_knows_it_leaves_no_error(tmp_path: Path) -> None:
    found = settled(tmp_path, 0.0, sample=100)
    part, before, right = found["all"]
    assert (part.looks, right, len(part.rows)) == (400, 400, 400)
    assert part.corrections == 400 - before
    assert (
        part.clusters == found["sure clusters"][0].clusters + found["doubtful clusters"][0].clusters
    )
    assert part.seconds > 400  # a second a look


def test_a_sample_is_quicker_and_an_erring_person_less_right(tmp_path: Path) -> None:
    all_seen, few = (settled(tmp_path, 0.0, sample)["all"] for sample in (100, 3))
    assert few[0].looks < all_seen[0].looks
    assert few[2] <= all_seen[2]
    erring = settled(tmp_path, 0.5, sample=100)["all"]
    assert erring[2] < all_seen[2]


def test_a_look_costs_its_seconds_and_an_error_is_one_of_two_kinds() -> None:
    person = bench.Person(["A"] * 1000, ["A", "B", "C"], 0.5, 0.25, seed=1)
    seen = [person.sees(cell, "B") for cell in range(1000)]
    assert person.seconds == pytest.approx(250)
    assert set(seen) == {"A", "B"}  # right, or overlooked
    assert 400 < seen.count("B") < 600
    assert {person.sees(0, "A") for _ in range(100)} == {"A", "B", "C"}
