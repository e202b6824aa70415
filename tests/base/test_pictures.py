"""Sheets and plots: right sizes, and the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from naturalize.base.plots import class_colours, figure, save_figure
from naturalize.base.sheets import contact_sheet, labelled_rows

RED = np.full((30, 60, 3), (200, 0, 0), np.uint8)
BLUE = np.full((300, 20, 3), (0, 0, 200), np.uint8)


def test_a_sheet_shows_every_tile_whole() -> None:
    sheet = contact_sheet([RED, BLUE, RED], columns=2, tile=40, captions=["a", "b", "c"])
    reddish = (sheet[:, :, 0] > 150) & (sheet[:, :, 2] < 50)
    bluish = (sheet[:, :, 2] > 150) & (sheet[:, :, 0] < 50)
    assert reddish.sum() == pytest.approx(2 * 40 * 20, rel=0.05)
    assert bluish.sum() == pytest.approx(40 * 3, rel=0.4)


def test_an_empty_sheet_is_still_a_picture() -> None:
    assert contact_sheet([], title="nothing").ndim == 3
    assert labelled_rows({}).ndim == 3


def test_rows_keep_their_order() -> None:
    sheet = labelled_rows({"first": [RED], "second": [BLUE]}, tile=40)
    half = sheet.shape[0] // 2
    assert (sheet[:half, :, 0] > sheet[:half, :, 2].astype(int) + 100).any()
    assert (sheet[half:, :, 2] > sheet[half:, :, 0].astype(int) + 100).any()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_plot_is_the_same_bytes_every_time(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        fig, ax = figure()
        ax.bar(["x", "y"], [1, 2])
        save_figure(fig, tmp_path / f"{name}.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
    assert first == second


def test_eleven_classes_have_eleven_colours() -> None:
    assert len(set(class_colours([str(i) for i in range(11)]).values())) == 11
