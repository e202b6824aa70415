"""Varied cells: bent without a fold, resampled without losing grain, true to what is asked."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from compose_makers import OneCell, one_cell_recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.compose.paint.patch import make_patch
from naturalize.compose.paint.place import displacement, lay
from naturalize.compose.paint.render import render
from naturalize.compose.paint.sizes import EDGE
from naturalize.compose.recipe.recipe import Placement


def disc(radius: int = 30, grey: int = 0) -> OneCell:
    y, x = np.mgrid[: 2 * radius, : 2 * radius] + 0.5 - radius
    rgb = np.full((2 * radius, 2 * radius, 3), grey, np.uint8)
    return OneCell(rgb, np.hypot(x, y) <= radius)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 120), st.integers(20, 120), st.floats(0.1, 2.5), st.integers(0, 2**31 - 1))
def test_a_bend_is_smooth_small_and_nowhere_folded(height, width, amplitude, seed) -> None:
    field = displacement((height, width), amplitude, seed)
    length = np.sqrt((field**2).sum(axis=2))
    assert np.sqrt((length**2).mean()) <= amplitude * 1.001
    assert length.max() <= 3 * amplitude * 1.001
    np.testing.assert_allclose(field.mean(axis=(0, 1)), 0, atol=1e-3)
    dx, dy = np.gradient(field, axis=1), np.gradient(field, axis=0)
    area = (1 + dx[..., 0]) * (1 + dy[..., 1]) - dx[..., 1] * dy[..., 0]
    assert area.min() > 0.1  # the map can be inverted: nothing is cut, nothing folded
    if min(height, width) >= 40 * amplitude:
        assert np.sqrt((length**2).mean()) >= 0.5 * amplitude


def test_a_bend_depends_on_its_seed_only() -> None:
    one, again = (displacement((50, 60), 1.0, 7) for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, displacement((50, 60), 1.0, 8))
    small = cv2.resize(one, (30, 25), interpolation=cv2.INTER_AREA)
    assert np.abs(small / 2 - displacement((25, 30), 0.5, 7)).max() < 0.2


@pytest.mark.parametrize("seed", range(4))
def test_a_bent_cell_is_one_cell_of_the_same_size_in_the_same_place(seed: int) -> None:
    cell = disc()
    plain = render(one_cell_recipe((90, 90), (255,) * 3, blend="feather", feather=1), cell)
    bent = render(
        one_cell_recipe(
            (90, 90), (255,) * 3, blend="feather", feather=1, elastic=1.5, elastic_seed=seed
        ),
        cell,
    )
    share = [1 - image[:, :, 0] / 255 for image in (plain, bent)]
    assert np.abs(share[0] - share[1]).max() > 0.3
    assert share[1].sum() == pytest.approx(share[0].sum(), rel=0.06)
    y, x = np.mgrid[:90, :90] + 0.5
    assert abs((share[1] * x).sum() / share[1].sum() - 45) < 1
    assert abs((share[1] * y).sum() / share[1].sum() - 45) < 1
    assert cv2.connectedComponents((share[1] > 0.5).astype(np.uint8))[0] == 2


@pytest.mark.parametrize(("aspect", "angle"), [(1.2, 0.0), (1.2, 90.0), (0.8, 0.0)])
def test_aspect_is_width_by_height_before_the_turn(aspect: float, angle: float) -> None:
    recipe = one_cell_recipe((90, 90), (255,) * 3, blend="feather", feather=1, aspect=aspect, angle=angle)  # fmt: skip # noqa: E501
    share = 1 - render(recipe, disc())[:, :, 0] / 255
    y, x = np.mgrid[:90, :90] - 44.5
    ratio = np.sqrt((share * x * x).sum() / (share * y * y).sum())
    assert ratio == pytest.approx(1 / aspect if angle else aspect, rel=0.02)
    assert share.sum() == pytest.approx(np.pi * 900, rel=0.02)


def noisy() -> OneCell:
    generator = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(generator.normal(0, 1, (60, 60, 3)), (0, 0), 0.7) * 12
    mask = disc().mask
    return OneCell(np.clip(np.rint(120 + smooth), 0, 255).astype(np.uint8), mask)


def sharpness(**how) -> float:
    source = noisy()
    patch = make_patch(source.rgb, source.mask)
    laid = lay(patch, Placement("c", "i", "wbc", 45.3, 45.4, **{"angle": 33, **how}), (90, 90))
    inside = laid.edge > EDGE + 64
    return float(cv2.Laplacian(laid.colours[:, :, 1], cv2.CV_32F)[inside].var())


def test_better_kernels_and_restored_grain_keep_more_of_the_texture() -> None:
    source = noisy()
    inside = make_patch(source.rgb, source.mask)
    before = cv2.Laplacian(inside.colours[:, :, 1], cv2.CV_32F)[inside.edge > EDGE + 64].var()
    kept = [
        sharpness(**how) / before
        for how in ({}, {"kernel": "cubic"}, {"kernel": "cubic", "grain": 0.5})
    ]
    assert kept[0] < 0.75 * kept[1]
    assert kept[1] < kept[2]
    assert sharpness(kernel="lanczos") > sharpness(kernel="cubic")


def test_blur_softens_colours_and_no_edge() -> None:
    values = [sharpness(blur=blur) for blur in (0, 0.5, 1.0)]
    assert values[0] > 1.5 * values[1] > 3 * values[2]
    sharp, soft = (
        render(one_cell_recipe((90, 90), (255,) * 3, blur=blur), disc()) for blur in (0, 1)
    )
    assert np.array_equal(sharp, soft)


def test_stain_is_scaled_in_density_and_light_with_it() -> None:
    cell = disc(grey=100)
    recipe = one_cell_recipe((90, 90), stain_scale=(1.2, 0.8, 1.0), stain=(0.0, 0.1, -0.05))
    wanted = 255 * (100 / 255) ** np.array([1.2, 0.8, 1.0]) * 10.0 ** -np.array([0, 0.1, -0.05])
    np.testing.assert_allclose(render(recipe, cell)[45, 45], wanted, atol=0.51)
