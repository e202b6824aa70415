"""Signed distances, windows and textures, against areas and distances known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.rng import rng
from naturalize.dataset.phantom import shapes
from naturalize.dataset.phantom.nuclei import draw_nucleus

radii = st.floats(6, 30)


def whole(size: int = 80, scale: float = 1.0) -> shapes.Window:
    at = shapes.window((size, size), (size / 2 / scale,) * 2, size, scale)
    assert at is not None
    return at


@given(radius=radii, scale=st.floats(0.5, 2))
@settings(max_examples=30, deadline=None)
def test_covered_area_of_a_disc_is_pi_r_squared(radius, scale):
    at = whole(int(70 * scale), scale)
    area = shapes.coverage(shapes.outline(at.x, at.y, radius, ()), scale).sum() / scale**2
    assert area == pytest.approx(np.pi * radius**2, rel=0.025)


@given(radius=radii, amplitude=st.floats(0, 0.15), order=st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_covered_area_of_a_wavy_outline_is_that_of_its_polar_curve(radius, amplitude, order):
    at = whole()
    inside = shapes.outline(at.x, at.y, radius, [(order, amplitude, 0.3)])
    expected = np.pi * radius**2 * (1 + amplitude**2 / 2)
    assert shapes.coverage(inside, 1.0).sum() == pytest.approx(expected, rel=0.015)


@given(blend=st.floats(0.1, 8), dx=st.floats(-15, 15))
@settings(max_examples=30, deadline=None)
def test_union_holds_both_shapes_and_within_neither_more(blend, dx):
    at = whole()
    a = shapes.outline(at.x, at.y, 12, ())
    b = shapes.outline(at.x - np.float32(dx), at.y, 9, ())
    tolerance = 1e-4
    assert (shapes.union(a, b, blend) <= np.minimum(a, b) + tolerance).all()
    assert (shapes.within(a, b, blend) >= np.maximum(a, b) - tolerance).all()
    assert np.abs(shapes.union(a, b, blend) - np.minimum(a, b)).max() <= blend / 4 + tolerance


def test_chain_of_even_radius_has_the_area_of_a_capsule():
    at = whole()
    ends = np.array([[-15.0, 4.0], [12.0, -9.0]])
    inside = shapes.chain(at.x, at.y, ends, np.array([6.0, 6.0]), 0.5)
    length = np.hypot(*(ends[1] - ends[0]))
    assert shapes.coverage(inside, 1.0).sum() == pytest.approx(np.pi * 36 + 12 * length, rel=0.005)


def test_chain_of_one_point_is_a_disc():
    at = whole()
    disc = shapes.chain(at.x, at.y, np.array([[2.0, 3.0]]), np.array([5.0]), 1.0)
    assert disc[43, 42] == pytest.approx(np.hypot(0.5, 0.5) - 5, abs=1e-4)


@given(
    x=st.floats(-40, 120), y=st.floats(-40, 120), reach=st.floats(1, 50), scale=st.floats(0.3, 2)
)
@settings(max_examples=60, deadline=None)
def test_window_lies_on_the_canvas_and_knows_its_coordinates(x, y, reach, scale):
    canvas = np.zeros((70, 90))
    at = shapes.window(canvas.shape, (x, y), reach, scale)
    if at is None:
        assert (
            (x + reach) * scale <= 0
            or (y + reach) * scale <= 0
            or (x - reach) * scale >= 89
            or (y - reach) * scale >= 69
        )
        return
    assert at.of(canvas).shape == at.shape == at.y.shape
    column = (at.x[0] + x) * scale - 0.5
    assert np.allclose(column, np.arange(at.columns.start, at.columns.stop), atol=1e-3)


@pytest.mark.parametrize("grain", [2.0, 7.0, 30.0])
def test_smooth_noise_has_unit_spread_and_the_grain_asked_for(grain):
    noise = shapes.smooth_noise(rng(1, "noise"), (400, 420), grain)
    assert noise.shape == (400, 420)
    assert noise.std() == pytest.approx(1, abs=0.3)
    lag = max(1, round(grain / 2))
    near = np.corrcoef(noise[:, :-lag].ravel(), noise[:, lag:].ravel())[0, 1]
    far = np.corrcoef(noise[:, : -6 * lag].ravel(), noise[:, 6 * lag :].ravel())[0, 1]
    assert near > 0.4 > abs(far)


def test_granules_stay_where_they_may_be():
    where = np.zeros((60, 60), np.float32)
    where[20:40, 20:40] = 1
    grains = shapes.granules(rng(2, "grains"), where, count=50, diameter=3)
    assert grains[20:40, 20:40].sum() > 0.85 * grains.sum() > 0
    assert grains[:10].max() < 1e-3


def test_granules_nowhere_and_none_give_nothing():
    nowhere = np.zeros((20, 20), np.float32)
    assert shapes.granules(rng(2, "a"), nowhere, count=9, diameter=3).max() == 0
    assert shapes.granules(rng(2, "a"), nowhere + 1, count=0, diameter=3).max() == 0


@pytest.mark.parametrize("label", ["BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PMY", "SNE"])
def test_every_nucleus_lies_in_its_cell_and_is_not_empty(label):
    grid = np.linspace(-1.3, 1.3, 120, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    for i in range(12):
        inside = draw_nucleus(rng(3, "nucleus", label, i), label)(x, y) < 0
        share = inside.sum() * (2.6 / 120) ** 2 / np.pi
        assert 0.08 < share < 0.95
        assert (np.hypot(x, y)[inside] < 1.15).all()
