"""Run lengths and label images: round trips, and damage that is named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.imaging.runlength import decode, encode

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_run_lengths_round_trip(mask: np.ndarray) -> None:
    runs = encode(mask)
    assert runs.dtype == np.uint32
    assert np.array_equal(decode(runs, mask.shape), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_run_lengths_count_what_a_loop_counts(mask: np.ndarray) -> None:
    counts, value = [0], False
    for pixel in mask.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    assert encode(mask).tolist() == counts


def test_runs_of_another_shape_are_refused() -> None:
    with pytest.raises(ArtifactError):
        decode(np.array([3, 2], np.uint32), (2, 2))


def test_the_white_cell_lies_over_red_cells_in_a_label_image() -> None:
    square = np.ones((4, 4), bool)
    cells = (Cell("wbc", (0, 0, 4, 4), square), Cell("rbc", (2, 2, 6, 6), square))
    background = (250.0, 230.0, 200.0)
    labels = Segmentation((8, 8), cells, background=background).label_image()
    assert labels.dtype == np.uint8
    assert (labels == 1).sum() == 16
    assert (labels == 2).sum() == 16 - 4


@pytest.mark.parametrize(
    ("kind", "mask"), [("cell", np.ones((2, 2), bool)), ("wbc", np.ones((3, 2), bool))]
)
def test_a_cell_that_makes_no_sense_is_refused(kind: str, mask: np.ndarray) -> None:
    with pytest.raises(SettingsError):
        Cell(kind, (0, 0, 2, 2), mask)
