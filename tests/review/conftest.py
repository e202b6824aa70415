"""Fixtures of the review's tests: small reviews, made from nothing but their cells."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow


@pytest.fixture(scope="session")
def kept_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of reviews that nobody has changed: a copy takes a hundredth of the time."""
    return tmp_path_factory.mktemp("reviews")


@pytest.fixture
def make_review(tmp_path: Path, kept_reviews: Path) -> Callable[..., Path]:
    """Write a review of ``n`` cells and return its folder.

    The model says EO, LY, SNE and nothing in turn, so cell 1 is EO and cell 4 is unidentified.
    """

    def made(n: int = 8, name: str = "monday", **settings: Any) -> Path:
        kept = kept_reviews / f"{n} {zlib.crc32(repr(sorted(settings.items())).encode()):x}"
        if not kept.exists():
            new = Path(tempfile.mkdtemp(dir=kept_reviews))
            _create(new, n, settings)
            new.rename(kept)
        folder = shutil.copytree(kept, tmp_path / name)
        with closing(sqlite3.connect(folder / "review.db")) as link, link:
            link.execute("UPDATE setting SET value = json_quote(?) WHERE key = 'name'", [name])
        return folder

    return made


def _create(folder: Path, n: int, settings: dict[str, Any]) -> None:
    rows = [
        CellRow(
            path=f"cell {i}.png",
            model_label=("EO", "LY", "SNE", None)[i % 4],
            probabilities=np.array([0.1, 0.2, 0.3, 0.4], np.float32),
            candidates=("LY", "EO"),
            doubt=1 - i / max(n, 1),
            cluster=i // 3,
            rank=i,
        )
        for i in range(n)
    ]
    values: dict[str, Any] = {
        "name": "monday",
        "created": "2026-11-28T12:00:00+00:00",
        "model": "pbc11",
        "classes": ["BA", "EO", "LY", "SNE"],
        "bins": ["SNE", "EO", "BA", "LY"],
        "keys": {"SNE": "1", "EO": "2", "BA": "3", "LY": "4"},
    }
    Review.create(folder, values | settings, rows)


@pytest.fixture
def opened(make_review: Callable[..., Path]) -> Iterator[Callable[..., Review]]:
    """Write a review of ``n`` cells and open it; it is closed after the test."""
    reviews: list[Review] = []

    def made(n: int = 8, **more: Any) -> Review:
        reviews.append(Review.open(make_review(n, **more)))
        return reviews[-1]

    yield made
    for review in reviews:
        review.close()
