"""Outlines that hold more than one cell: found by content and neck, single cells left alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.cells.choose import APPENDED, JOINED, accept_all, judge_named
from naturalize.cells.outline import axis_ratio, haemoglobin, limb
from naturalize.cells.tables import CELLS
from naturalize.imaging.runlength import encode


def ellipse(half: tuple[float, float], angle: float = 0.0, side: int = 160) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    turn = np.deg2rad(angle)
    u = columns * np.cos(turn) + rows * np.sin(turn)
    v = rows * np.cos(turn) - columns * np.sin(turn)
    return (u / half[0]) ** 2 + (v / half[1]) ** 2 <= 1


def row(number: int, mask: np.ndarray, *, kind: str = "rbc", density: float = 0.2) -> dict:
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = {"x0": xs[0] + 5, "y0": ys[0] + 5, "x1": xs[-1] + 6, "y1": ys[-1] + 6}
    part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    return {
        **{name: int(value) for name, value in box.items()},
        "cell_id": f"image-{number}", "image_id": "image", "path": "a.png", "kind": kind,
        "area": int(mask.sum()), "mask": encode(part), "touches_border": False, "solidity": 0.99,
        "waist": False, "contact": 0.0, "focus": 100.0, "od_r": 0.1, "od_g": density, "od_b": 0.1,
        "score": 1.0,
    }  # fmt: skip


def judged(rows: list[dict], labels: list[str | None]) -> list[str | None]:
    table = pa.Table.from_pylist(rows, schema=CELLS)
    return judge_named(table, labels)["reason"].to_pylist()


@settings(max_examples=50, deadline=None)
@given(st.floats(8, 60), st.floats(0.3, 1), st.floats(0, 180))
def test_the_axes_are_those_of_the_ellipse(long: float, ratio: float, angle: float) -> None:
    assert axis_ratio(ellipse((long, long * ratio), angle)) == pytest.approx(ratio, abs=0.08)


def test_the_axis_ratio_is_that_of_scikit_image() -> None:
    from skimage.measure import regionprops

    mask = ellipse((40, 22), 30)
    (region,) = regionprops(mask.astype(int))
    expected = region.axis_minor_length / region.axis_major_length
    assert axis_ratio(mask) == pytest.approx(expected, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.floats(12, 60), st.floats(0.5, 1), st.floats(0, 180))
def test_nothing_hangs_on_an_ellipse(long: float, ratio: float, angle: float) -> None:
    assert limb(ellipse((long, long * ratio), angle)) < 0.03


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 360), st.floats(12, 14.5))
def test_a_disc_on_a_disc_hangs_on_it(angle: float, radius: float) -> None:
    mask = ellipse((40, 40), side=200).astype(np.uint8)
    away = 40 + 0.8 * radius
    x, y = 99.5 + away * np.cos(np.deg2rad(angle)), 99.5 + away * np.sin(np.deg2rad(angle))
    cv2.circle(mask, (round(x), round(y)), round(radius), 1, cv2.FILLED)
    assert limb(mask > 0) == pytest.approx((mask.sum() - np.pi * 1600) / mask.sum(), abs=0.035)
    rows = [row(0, mask > 0, kind="wbc"), row(1, ellipse((40, 40)), kind="wbc")]
    assert judged(rows, ["SNE", "SNE"]) == [APPENDED, None]


def test_a_single_pixel_and_a_line_have_no_limb() -> None:
    assert limb(np.ones((1, 1), bool)) == 0
    assert 0 <= limb(np.ones((1, 30), bool)) < 0.2


def test_two_overlapping_discs_hold_twice_the_haemoglobin() -> None:
    singles = [row(i, ellipse((34, 34))) for i in range(6)]
    two = row(6, ellipse((49, 36)), density=0.24)
    reasons = judged([*singles, two], [None] * 7)
    assert reasons == [None] * 6 + [JOINED]


def test_large_round_and_small_oval_cells_are_one() -> None:
    singles = [row(i, ellipse((34, 34))) for i in range(6)]
    large, oval = row(6, ellipse((43, 42))), row(7, ellipse((36, 25)))
    pale = row(8, ellipse((45, 36)), density=0.14)
    assert judged([*singles, large, oval, pale], [None] * 9) == [None] * 9


def test_density_counts_only_where_an_image_has_enough_red_cells() -> None:
    facts = {
        "kind": np.array(["rbc"] * 3 + ["wbc"]),
        "area": np.array([100, 100, 100, 900]),
        "od_g": np.array([0.2, 0.2, 0.6, 0.5]),
        "image_id": np.array(["a"] * 4),
        "touches_border": np.zeros(4, bool),
    }
    assert haemoglobin(facts).tolist() == [1, 1, 1, 0]
    more = {name: np.concatenate([values, values]) for name, values in facts.items()}
    assert haemoglobin(more)[2] == pytest.approx(3)
    none = {**facts, "touches_border": np.ones(4, bool)}
    assert haemoglobin(none).tolist() == [0, 0, 0, 0]


def test_cells_chosen_by_hand_are_all_accepted() -> None:
    rows = [row(0, ellipse((40, 40)), kind="wbc"), row(1, ellipse((4, 4)), kind="wbc")]
    table = judge_named(pa.Table.from_pylist(rows, schema=CELLS), ["LY", None])
    assert table["accepted"].to_pylist() == [True, False]
    taken = accept_all(table)
    assert taken["accepted"].to_pylist() == [True, True]
    assert taken["reason"].null_count == 2
    assert taken.schema.equals(table.schema)


@pytest.mark.real
def test_kinds_by_size_and_stain_are_those_of_the_segmenter(real_data: Path) -> None:
    from naturalize.base.images import read_image
    from naturalize.cells.exchange.kinds import guess
    from naturalize.cells.segmenters import segmenter

    right = n = 0
    for file in sorted((real_data / "pbc").rglob("*.jpg"))[::900]:
        image = read_image(file)
        cells = segmenter("classical").segment(image).cells
        told = guess(image, [(cell.box[:2], cell.mask) for cell in cells])
        right += sum(kind == cell.kind for kind, cell in zip(told, cells, strict=True))
        n += len(cells)
    assert n > 100
    assert right / n > 0.97
