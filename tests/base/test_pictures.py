"""Sheets and plots: right sizes, and the same bytes every time."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.plots import KIND_COLOURS, class_colours, figure, save_figure
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


@pytest.mark.parametrize("text", ["×", "≤", "ł", "Ω", "ж"])
def test_captions_show_letters_and_no_empty_boxes(text: str) -> None:
    shown, missing = (contact_sheet([RED], tile=40, captions=[c]) for c in (text, "\ue000"))
    assert (shown != missing).any()


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


#: What a colour looks like without red, green or blue cones (Machado, Oliveira & Fernandes 2009).
EYES = {
    "all cones": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip

#: Stained cells and the slide, as in PBC images.
STAINS = {
    "slide": (254, 230, 200), "red cell": (200, 165, 165), "nucleus": (60, 30, 110),
    "cytoplasm": (190, 160, 200), "eosinophil": (190, 90, 120),
}  # fmt: skip


@pytest.mark.parametrize("eyes", EYES)
def test_colours_of_kinds_differ_from_each_other_and_from_stains(eyes: str) -> None:
    from skimage.color import deltaE_ciede2000, rgb2lab

    def seen(colour: tuple[int, int, int]) -> np.ndarray:
        value = np.array(colour) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        linear = np.clip(EYES[eyes] @ linear, 0, 1)
        value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
        return rgb2lab(value[None, None])[0, 0]

    lines = {name: seen(KIND_COLOURS[name]) for name in ("wbc", "nucleus", "rbc", "platelet")}
    for one, other in combinations(lines.values(), 2):
        assert deltaE_ciede2000(one, other) > 15
    lies_on = {
        "wbc": ("slide", "red cell", "cytoplasm", "eosinophil"),
        "nucleus": tuple(STAINS),
        "rbc": ("slide", "red cell"),
        "platelet": ("slide", "red cell", "cytoplasm"),
    }
    for name, stains in lies_on.items():
        for stain in stains:
            assert deltaE_ciede2000(lines[name], seen(STAINS[stain])) > 15
