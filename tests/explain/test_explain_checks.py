"""Insertion, deletion and the heat of each class, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.explain.checks import (
    FRACTIONS,
    PARTS,
    area_under,
    insertion_and_deletion,
    middle,
    of_classes,
    of_methods,
    shares_of_parts,
)


def red_left(images: list[np.ndarray]) -> np.ndarray:
    """A class whose probability is the share of pure red pixels in the left half."""
    return np.array([(image[:, :10, 0] == 255).mean() for image in images])


@pytest.fixture
def image() -> np.ndarray:
    """Every other pixel of the left half red, 20 × 20: blurred, nothing of it is pure red."""
    rows, columns = np.mgrid[:20, :20]
    image = np.zeros((20, 20, 3), np.uint8)
    image[((rows + columns) % 2 == 0) & (columns < 10), 0] = 255
    return image


def test_a_perfect_map_by_hand(image: np.ndarray) -> None:
    heat = (image[..., 0] / 255).astype(np.float32)  # 100 of 400 pixels
    insertion, deletion = insertion_and_deletion(red_left, image, heat)
    shown = np.minimum(np.rint(np.array(FRACTIONS) * 400), 100) / 200
    np.testing.assert_allclose(insertion, shown, atol=1e-6)
    np.testing.assert_allclose(deletion, 0.5 - shown, atol=1e-6)


def test_the_opposite_map_is_the_worst(image: np.ndarray) -> None:
    heat = (image[..., 0] / 255).astype(np.float32)
    good, bad = (insertion_and_deletion(red_left, image, h) for h in (heat, 1 - heat))
    assert area_under(good[0]) > area_under(bad[0]) + 0.3
    assert area_under(good[1]) < area_under(bad[1]) - 0.3
    for one in (good, bad):  # both end where the other begins
        assert (one[0][0], one[0][-1]) == (one[1][-1], one[1][0])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=len(FRACTIONS), max_size=len(FRACTIONS)))
def test_areas_are_those_of_scikit_learn(curve: list[float]) -> None:
    assert area_under(curve) == pytest.approx(auc(FRACTIONS, curve))


def test_a_large_image_is_asked_about_when_it_is_small() -> None:
    seen = []

    def answers(images: list[np.ndarray]) -> np.ndarray:
        seen.extend(image.shape for image in images)
        return np.zeros(len(images))

    insertion_and_deletion(answers, np.zeros((700, 1400, 3), np.uint8), middle(8))
    assert set(seen) == {(256, 512, 3)}
    assert len(seen) == 2 * len(FRACTIONS) - 2


def test_the_middle_is_hottest_in_the_middle() -> None:
    heat = middle(5)
    assert heat[2, 2] == 1
    assert heat[0, 0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(heat, heat.T)


def test_shares_of_nucleus_cytoplasm_and_the_rest_by_hand() -> None:
    cell, nucleus = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    cell[:4, :4], nucleus[:2, :3] = True, True
    white = Cell("wbc", (0, 0, 4, 4), np.ones((4, 4), bool))
    red = Cell("rbc", (3, 3, 7, 7), np.ones((4, 4), bool))  # one pixel of it under the cell
    other = Cell("platelet", (8, 8, 10, 10), np.ones((2, 2), bool))
    found = Segmentation((10, 10), (white, red, other), (0.0, 0.0, 0.0))
    heat = np.zeros((10, 10))
    heat[0], heat[5] = 1, 0.5  # 3 nucleus, 1 cytoplasm, 6 slide; 2 red cells, 3 slide
    shares = shares_of_parts(heat, found, cell, nucleus)
    assert list(shares["heat"].values()) == [0.2, 0.0667, 0.1333, 0.0, 0.6]
    assert list(shares["area"].values()) == [0.06, 0.1, 0.15, 0.04, 0.65]
    assert shares_of_parts(np.zeros((10, 10)), found, cell, nucleus) is None


def entry(label: str, image_id: str, heat: list[float], area: list[float]) -> dict[str, object]:
    parts = {
        "heat": dict(zip(PARTS, heat, strict=True)),
        "area": dict(zip(PARTS, area, strict=True)),
    }
    return {"predicted": label, "image_id": image_id, "parts": parts}


def test_a_class_that_looks_at_red_cells_is_found_by_density() -> None:
    area = [0.1, 0.1, 0.4, 0.0, 0.4]
    found = of_classes(
        [
            entry("EO", "1", [0.2, 0.2, 0.4, 0.0, 0.2], area),  # 2 an area on the cell, 1 on red
            entry("LY", "2", [0.0, 0.1, 0.8, 0.0, 0.1], area),  # 0.5 and 2
            entry("LY", "2", [0.2, 0.1, 0.6, 0.0, 0.1], area),  # 1.5 and 1.5; the mean: 1 and 1.75
            entry("MO", "3", [0.0, 0.0, 0.0, 0.0, 1.0], [0.2, 0.2, 0.0, 0.0, 0.6]),  # none there
            {"predicted": "BA", "image_id": "4", "parts": None},
            {"predicted": "BA", "image_id": "5"},
        ]
    )
    assert {label: its["looks_at_red_cells"] for label, its in found.items()} == {
        "EO": False, "LY": True, "MO": False,
    }  # fmt: skip
    assert found["LY"]["n"] == 1
    assert found["LY"]["heat"]["red cells"] == pytest.approx(0.7)


def test_curves_of_a_method_are_means_over_images() -> None:
    ones, zeros = np.ones(len(FRACTIONS)), np.zeros(len(FRACTIONS))
    found = of_methods({"a": [(ones, zeros), (zeros, zeros)]})["a"]
    assert found["n"] == 2
    assert found["insertion"] == [0.5] * len(FRACTIONS)
    assert (found["insertion_auc"], found["deletion_auc"]) == (0.5, 0.0)
