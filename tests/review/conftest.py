"""Fixtures of the review's tests: small reviews, made from nothing but their cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow


@pytest.fixture
def make_review(tmp_path: Path) -> Callable[..., Path]:
    """Write a review of ``n`` cells and return its folder.

    The model says EO, LY, SNE and nothing in turn, so cell 1 is EO and cell 4 is unidentified.
    """

    def made(n: int = 8, name: str = "monday", **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
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
            "name": name,
            "created": "2026-11-28T12:00:00+00:00",
            "model": "pbc11",
            "classes": ["BA", "EO", "LY", "SNE"],
            "bins": ["SNE", "EO", "BA", "LY"],
            "keys": {"SNE": "1", "EO": "2", "BA": "3", "LY": "4"},
        }
        Review.create(folder, values | settings, rows)
        return folder

    return made


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
