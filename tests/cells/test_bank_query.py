"""Asking a bank for cells: by kind, flag, range and expression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from bank_makers import drawn_bank
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import SettingsError
from naturalize.cells.bank import CellBank

MEASURES = ("area", "focus", "od_g", "nc_ratio", "solidity", "contact", "x0")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return drawn_bank(tmp_path_factory.mktemp("query"), 3)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(MEASURES),
    ends=st.tuples(st.none() | st.floats(0, 3000), st.none() | st.floats(0, 3000)),
    kind=st.sampled_from([None, "wbc", "rbc", "platelet"]),
)
def test_ranges_keep_what_a_loop_keeps(bank: CellBank, name: str, ends, kind) -> None:
    low, high = sorted(ends) if None not in ends else ends
    found = bank.cells(kind, accepted=None, where={name: (low, high)})
    expected = [
        row["cell_id"]
        for row in bank.table.to_pylist()
        if kind in (None, row["kind"])
        and row[name] is not None
        and (low is None or row[name] >= low)
        and (high is None or row[name] <= high)
    ]
    assert found["cell_id"].to_pylist() == expected


def test_a_cell_without_the_measure_fits_no_range(bank: CellBank) -> None:
    kinds = bank.cells(accepted=None, where={"nc_ratio": (None, None)})["kind"].to_pylist()
    assert set(kinds) == {"wbc"}


def test_an_arrow_expression_may_say_what_ranges_cannot(bank: CellBank) -> None:
    wide = (pc.field("x1") - pc.field("x0")) > (pc.field("y1") - pc.field("y0"))
    rows = bank.cells(accepted=None, where=wide).to_pylist()
    assert rows
    assert all(row["x1"] - row["x0"] > row["y1"] - row["y0"] for row in rows)
    assert len(rows) + bank.cells(accepted=None, where=~wide).num_rows == bank.table.num_rows


def test_flags_of_the_issue_can_be_asked_together(bank: CellBank) -> None:
    whole = bank.cells(kind="rbc", whole=True, sharp=True, accepted=None)
    assert whole.num_rows > 0
    assert not any(whole["touches_border"].to_pylist())
    focus = np.array(bank.cells("rbc", accepted=None)["focus"].to_pylist())
    assert min(whole["focus"].to_pylist()) >= 0.5 * np.median(focus)


def test_a_reason_finds_its_cells(bank: CellBank) -> None:
    reasons = {row["reason"] for row in bank.cells(accepted=False).to_pylist()}
    assert "touches the image border" in reasons
    for reason in reasons:
        found = bank.cells(reason=reason)
        assert set(found["reason"].to_pylist()) == {reason}
        assert not any(found["accepted"].to_pylist())


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"size": (1, 2)}, "size"),
        ({"kind": (1, 2)}, "kind"),
        ({"area": (5, 1)}, "area"),
        ({"area": 5}, "area"),
        ({"area": (1, 2, 3)}, "area"),
        ({"area": ("a", None)}, "area"),
        ({"area": (float("nan"), None)}, "area"),
        ({"area": (True, None)}, "area"),
        (pc.field("size") > 3, "size"),
        (pc.field("kind") > 3, "where"),
    ],
)
def test_a_range_that_is_none_is_named(bank: CellBank, where, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        bank.cells(where=where)


def test_a_mask_needs_no_image(bank: CellBank, tmp_path: Path) -> None:
    away = CellBank(bank.table, bank.backgrounds, root=tmp_path, labels=bank.labels)
    for row in bank.table.to_pylist():
        assert np.array_equal(away.mask(row["cell_id"]), bank.cutout(row["cell_id"]).mask)


@settings(max_examples=30, deadline=None)
@given(margin=st.integers(0, 200), number=st.integers(0, 10**6))
def test_a_margin_goes_as_far_as_the_image(bank: CellBank, margin: int, number: int) -> None:
    row = bank.table.slice(number % bank.table.num_rows, 1).to_pylist()[0]
    image = bank.image(row["image_id"])
    cut = bank.cutout(row["cell_id"], margin=margin)
    left, top = max(0, row["x0"] - margin), max(0, row["y0"] - margin)
    expected = image[top : row["y1"] + margin, left : row["x1"] + margin]
    assert np.array_equal(cut.rgb, expected)
    assert cut.mask.shape == expected.shape[:2]
    assert cut.mask.sum() == row["area"]
    inside = cut.mask[row["y0"] - top :, row["x0"] - left :]
    shape = (row["y1"] - row["y0"], row["x1"] - row["x0"])
    assert np.array_equal(inside[: shape[0], : shape[1]], bank.mask(row["cell_id"]))
