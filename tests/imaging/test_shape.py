"""Shape measures on figures whose answer is known, and the reasons that follow from them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label, regionprops

from naturalize.cells import choose
from naturalize.cells.choose import judge
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.tables import CELLS, image_row
from naturalize.imaging.shape import (
    contact,
    has_waist,
    largest_piece,
    off_target,
    solidity,
    touches_border,
)

BACKGROUND = (253.0, 229.0, 203.0)


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(columns - x, rows - y) <= radius


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40))
def test_a_rectangle_fills_its_hull(height: int, width: int) -> None:
    assert solidity(np.ones((height, width), bool)) == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 30), st.integers(0, 25))
def test_solidity_is_that_of_scikit_image(radius: int, apart: int) -> None:
    mask = disc((80, 120), 40, 40, radius) | disc((80, 120), 40 + apart, 40, radius)
    expected = regionprops(label(mask))[0].solidity
    assert solidity(mask) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(30, 30, 25)], False),
        ([(30, 30, 25), (78, 30, 25)], True),
        ([(30, 30, 25), (62, 30, 25)], True),
        ([(30, 30, 25), (34, 30, 25)], False),
        ([(30, 30, 25), (56, 30, 4)], False),
    ],
    ids=["one disc", "two that touch", "two that overlap", "an oval", "an appendage"],
)
def test_two_cells_in_one_outline_have_a_waist(parts, expected: bool) -> None:
    mask = np.logical_or.reduce([disc((64, 110), *part) for part in parts])
    assert has_waist(mask) is expected


def test_contact_is_the_share_of_the_outline_that_is_covered() -> None:
    layers = np.zeros((40, 40), int)
    layers[10:30, 10:30] = 1
    alone = contact(np.ones((20, 20), bool), (10, 10, 30, 30), layers)
    layers[:, 30:] = 1
    one_side = contact(np.ones((20, 20), bool), (10, 10, 30, 30), layers)
    assert alone == 0
    assert one_side == pytest.approx(0.25, abs=0.03)
    at_edge = contact(np.ones((20, 20), bool), (0, 0, 20, 20), np.ones((40, 40), int))
    assert at_edge == 1


# ── which cells may be composed ─────────────────────────────────────────────────────────────────


class Sizes:
    """As much of a catalog as judging needs."""

    def __init__(self, ids: list[str]) -> None:
        n = len(ids)
        self.table = pa.table({"image_id": ids, "width": [200] * n, "height": [200] * n})


def judged(images: dict[str, list[Cell]], labels: dict[str, str]) -> list[dict]:
    rng = np.random.default_rng(0)
    rows = []
    for image_id, cells in images.items():
        image = rng.integers(60, 120, (200, 200, 3)).astype(np.uint8)
        found = Segmentation((200, 200), tuple(cells), BACKGROUND)
        rows += image_row(image_id, f"{image_id}.jpg", image, found)["cells"]
    table = pa.Table.from_pylist(rows, schema=CELLS)
    return judge(table, Sizes(list(images)), labels).to_pylist()


def cell(kind: str, x: float, y: float, radius: float, **options: float) -> Cell:
    return Cell.from_mask(kind, disc((200, 200), x, y, radius), **options)


def usual(n: int = 8) -> dict[str, list[Cell]]:
    return {
        f"i{k}": [cell("wbc", 100, 100, 40), cell("rbc", 40, 40, 20), cell("platelet", 160, 40, 8)]
        for k in range(n)
    }


def reasons(extra: list[Cell], label: str = "LY") -> list[str | None]:
    images = {**usual(), "x": extra}
    labels = dict.fromkeys(images, "LY") | {"x": label}
    return [row["reason"] for row in judged(images, labels) if row["image_id"] == "x"]


def test_clean_cells_are_accepted_and_only_the_target_is_labelled() -> None:
    images = usual()
    rows = judged(images, dict.fromkeys(images, "LY"))
    assert all(row["accepted"] and row["reason"] is None for row in rows)
    assert {row["label"] for row in rows if row["kind"] == "wbc"} == {"LY"}
    assert {row["label"] for row in rows if row["kind"] != "wbc"} == {None}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([cell("rbc", 5, 40, 20)], [choose.BORDER]),
        ([cell("rbc", 40, 40, 6)], [choose.SMALL]),
        ([cell("rbc", 80, 80, 60)], [choose.LARGE]),
        ([cell("rbc", 40, 40, 20, score=0.2)], [choose.UNCERTAIN]),
        ([cell("rbc", 40, 40, 20), cell("rbc", 75, 40, 20)], [choose.HIDDEN, choose.HIDDEN]),
        ([cell("wbc", 100, 100, 40), cell("wbc", 30, 30, 15)], [None, choose.NOT_TARGET]),
        (
            [cell("wbc", 60, 100, 38), cell("wbc", 145, 100, 38)],
            [choose.CROWDED, choose.NOT_TARGET],
        ),
    ],
    ids=["border", "small", "large", "uncertain", "overlapping", "not the target", "two whites"],
)
def test_a_cell_is_rejected_for_its_fault(cells, expected) -> None:
    assert reasons(cells) == expected


def test_sizes_are_judged_within_a_class_that_has_enough_cells() -> None:
    small = {f"s{k}": [cell("wbc", 100, 100, 24)] for k in range(14)}
    large = {f"l{k}": [cell("wbc", 100, 100, 44)] for k in range(14)}
    labels = dict.fromkeys(small, "LY") | dict.fromkeys(large, "MO")
    rows = judged({**small, **large, "x": [cell("wbc", 100, 100, 44)]}, labels | {"x": "LY"})
    assert [row["reason"] for row in rows] == [None] * 28 + [choose.LARGE]


def test_a_star_is_ragged_and_a_dumbbell_is_two_cells() -> None:
    rows, columns = np.mgrid[:200, :200] - 100
    angle, far = np.arctan2(rows, columns), np.hypot(rows, columns)
    star = Cell.from_mask("wbc", far < 40 * (1 + 0.2 * np.cos(9 * angle)))
    pair = disc((200, 200), 60, 100, 30) | disc((200, 200), 118, 100, 30)
    assert reasons([star]) == [choose.RAGGED]
    assert reasons([Cell.from_mask("wbc", pair)]) == [choose.JOINED]


def test_a_blurred_cell_is_out_of_focus() -> None:
    images = usual()
    rows = judged(images, dict.fromkeys(images, "LY"))
    table = pa.Table.from_pylist([{**row, "waist": False, "solidity": 1.0, "contact": 0.0}
                                  for row in rows], schema=CELLS)  # fmt: skip
    focus = np.array(table["focus"].to_pylist(), np.float32)
    focus[0] = 0.01
    table = table.set_column(table.schema.get_field_index("focus"), "focus", pa.array(focus))
    found = judge(table, Sizes(list(images)), dict.fromkeys(images, "LY")).to_pylist()
    assert found[0]["reason"] == choose.BLURRED
    assert sum(not row["accepted"] for row in found) == 1


def test_on_platelet_images_the_central_platelet_is_the_target() -> None:
    images = {**usual(), "x": [cell("platelet", 30, 30, 14), cell("platelet", 100, 100, 14)]}
    labels = dict.fromkeys(images, "LY") | {"x": "PLT"}
    rows = [row for row in judged(images, labels) if row["image_id"] == "x"]
    assert [row["target"] for row in rows] == [False, True]
    assert [row["label"] for row in rows] == [None, "PLT"]


def test_an_image_without_a_fitting_cell_has_no_target() -> None:
    images = {**usual(), "x": [cell("rbc", 100, 100, 20)]}
    rows = judged(images, dict.fromkeys(images, "LY"))
    assert not any(row["target"] for row in rows if row["image_id"] == "x")


@given(arrays(bool, (9, 11)))
def test_the_largest_piece_is_that_of_skimage(mask: np.ndarray) -> None:
    found = largest_piece(mask)
    pieces = label(mask, connectivity=1)
    sizes = np.bincount(pieces.ravel())[1:]
    assert found.sum() == sizes.max(initial=0)
    assert not (found & ~mask).any()
    assert label(found, connectivity=1).max() <= 1


@pytest.mark.parametrize(
    ("box", "touches"),
    [((0, 3, 5, 6), True), ((1, 1, 19, 9), False), ((4, 4, 20, 9), True), ((4, 4, 19, 10), True)],
)
def test_a_box_touches_the_border_where_no_pixel_is_between(box: tuple, touches: bool) -> None:
    assert touches_border(box, (10, 20, 3)) is touches
    inside = np.zeros((10, 20), bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    edge = np.ones((10, 20), bool)
    edge[1:-1, 1:-1] = False
    assert (inside & edge).any() == touches


def test_the_target_is_a_large_cell_near_the_middle() -> None:
    boxes = np.array([[40, 40, 60, 60], [0, 0, 20, 20], [52, 45, 56, 49]])
    areas = np.array([300, 320, 10])
    assert off_target(boxes, areas, (100, 100)).argmin() == 0
    # a speck in the very middle is none, nor is a cell at the corner
    assert off_target(boxes[1:], areas[1:], (100, 100)).argmin() == 1
    assert off_target(boxes[:1], areas[:1], (100, 100)).tolist() == [-0.5]
