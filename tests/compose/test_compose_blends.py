"""Blends: exactly placed, without a trace of the old slide, true to light at the edge."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from compose_makers import PEACH, OneCell, Slide, one_cell_recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from naturalize.compose.paint.patch import make_patch
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.paint.sizes import EDGE, LEVELS, PAD
from naturalize.compose.recipe.recipe import Background, Placement, Recipe
from naturalize.imaging.poisson import membrane, poisson
from naturalize.imaging.slide import slide_around

OTHER = (238, 214, 210)


def dense(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the same as ``membrane``, by a full matrix written pixel by pixel."""
    pixels = [tuple(pixel) for pixel in np.argwhere(inside)]
    number = {pixel: k for k, pixel in enumerate(pixels)}
    matrix, right = np.zeros((len(pixels),) * 2), np.zeros((len(pixels), values.shape[2]))
    for k, (y, x) in enumerate(pixels):
        for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= other[0] < inside.shape[0] and 0 <= other[1] < inside.shape[1]):
                continue
            matrix[k, k] += 1
            if other in number:
                matrix[k, number[other]] -= 1
            else:
                right[k] += values[other]
    return np.linalg.solve(matrix, right)


@settings(deadline=None, max_examples=60)
@given(
    arrays(bool, st.tuples(st.integers(2, 12), st.integers(2, 12))).filter(
        lambda mask: mask.any() and not mask.all()
    ),
    st.integers(0, 2**32 - 1),
)
def test_the_membrane_is_the_dense_solution(inside: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-255, 255, (*inside.shape, 3))
    np.testing.assert_allclose(membrane(values, inside), dense(values, inside), atol=1e-6)


def test_there_is_no_membrane_without_anything_to_meet() -> None:
    assert membrane(np.zeros((3, 4, 3)), np.ones((3, 4), bool)) is None


def corner_shape(side: int = 40) -> np.ndarray:
    """Return an L that is far from symmetric, bool (side, side)."""
    mask = np.zeros((side, side), bool)
    mask[2:-2, 2:11] = mask[-9:-2, 2:-6] = True
    return mask


@pytest.mark.parametrize("place", [(0, 0), (7, 3), (24, 23)])
def test_gradients_land_where_they_are_asked_for(place: tuple[int, int]) -> None:
    generator = np.random.default_rng(4)
    canvas = generator.integers(90, 110, (64, 64, 3)).astype(np.uint8)
    cell = generator.integers(90, 110, (40, 40, 3)).astype(np.uint8)
    cell[20, 6] = 160  # a spot to find again
    inside = corner_shape()
    before = canvas.copy()
    left, top = place
    poisson(canvas, cell, inside, left, top)
    changed = np.zeros((64, 64), bool)
    changed[top : top + 40, left : left + 40] = inside
    assert np.array_equal(canvas[~changed], before[~changed])
    spot = np.unravel_index(canvas[:, :, 0].argmax(), (64, 64))
    assert spot == (top + 20, left + 6)


def test_a_cell_that_covers_the_canvas_is_taken_as_it_is() -> None:
    canvas, cell = np.zeros((5, 6, 3), np.uint8), np.full((5, 6, 3), 77, np.uint8)
    poisson(canvas, cell, np.ones((5, 6), bool), 0, 0)
    assert (canvas == 77).all()
    poisson(canvas, cell * 2, np.zeros((5, 6), bool), 0, 0)
    assert (canvas == 77).all()


def test_poisson_against_the_dense_solution_on_a_canvas() -> None:
    generator = np.random.default_rng(5)
    canvas = generator.integers(60, 200, (30, 26, 3)).astype(np.uint8)
    cell = generator.integers(60, 200, (18, 14, 3)).astype(np.uint8)
    inside = np.pad(generator.random((16, 12)) < 0.8, 1)
    for left, top in ((4, 5), (0, 0), (12, 12)):  # in the middle, and at two corners of the canvas
        painted = canvas.copy()
        poisson(painted, cell, inside, left, top)
        around = np.zeros(canvas.shape[:2], bool)
        around[top : top + 18, left : left + 14] = inside
        source = canvas.astype(float)
        source[top : top + 18, left : left + 14] = cell
        change = dense(canvas - source, around)
        wanted = np.clip(np.rint(source[around] + change), 0, 255)
        np.testing.assert_array_equal(painted[around], wanted)


def moved(source: Slide, colour: tuple[float, ...], **placement) -> np.ndarray:
    x0, y0, x1, y1 = source.box
    values = {"cx": (x0 + x1) / 2, "cy": (y0 + y1) / 2, "blend": "scene", "feather": 1.5}
    placed = Placement("c", "i", "wbc", **{**values, **placement})
    return render(Recipe("a", "scene", 100, 100, Background(colour), (placed,)), source)


def matching(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(np.log10(np.array(old) / np.array(new)))


def test_a_cell_laid_back_on_its_own_slide_is_the_image_itself() -> None:
    source = Slide(PEACH)
    error = np.abs(moved(source, PEACH).astype(int) - source.image)
    assert error.max() <= 4  # the profile of the edge is that of the whole cell
    assert error.mean() < 0.1


def test_a_cell_on_another_slide_is_as_if_it_had_always_lain_there() -> None:
    wanted = Slide(OTHER).image.astype(int)
    found = moved(Slide(PEACH), OTHER, stain=matching(PEACH, OTHER))
    assert np.abs(found - wanted).max() <= 5
    hard = moved(Slide(PEACH), OTHER, blend="hard").astype(int)
    assert np.abs(found - wanted).mean() < 0.1 * np.abs(hard - wanted).mean()


def test_light_that_the_recipe_did_not_expect_is_matched() -> None:
    dimmer = tuple(value - 8 for value in PEACH)
    wanted = Slide(dimmer).image.astype(int)
    assert np.abs(moved(Slide(PEACH), dimmer).astype(int) - wanted).max() <= 5


@pytest.mark.parametrize("blend", ["scene", "poisson"])
def test_the_old_slide_leaves_no_fringe(blend: str) -> None:
    lilac = Slide((214, 205, 238))
    found = moved(lilac, PEACH, stain=matching((214, 205, 238), PEACH), blend=blend).astype(float)
    # nothing is bluer against the slide than the cell's own dye makes it
    density = np.log10(np.array(PEACH) / found)
    ring = np.abs(np.hypot(*(np.mgrid[:100, :100] + 0.5 - [[[52]], [[48]]])) - 30) < 5
    assert density[ring].min() > -0.012
    assert (density[ring][:, 1] >= density[ring][:, 2] - 0.012).all()


def test_a_neighbour_stays_behind() -> None:
    found = moved(Slide(PEACH, neighbour=True), PEACH, cx=48)
    wanted = moved(Slide(PEACH), PEACH, cx=48)
    assert np.abs(found.astype(int) - wanted).max() <= 6


def test_a_cell_covers_what_lies_under_it() -> None:
    recipe = one_cell_recipe((100, 100), PEACH)
    x0, y0, x1, y1 = Slide(PEACH).box
    cell = {"cx": (x0 + x1) / 2, "cy": (y0 + y1) / 2, "blend": "scene", "feather": 1.5}
    over = Placement("c", "i", "wbc", **cell)
    under = Placement("c", "i", "rbc", **{**cell, "cx": cell["cx"] + 20})
    both = Recipe("a", "scene", 100, 100, recipe.background, (under, over))
    alone = moved(Slide(PEACH), PEACH)
    inside = cv2.erode(Slide(PEACH).mask.view(np.uint8), np.ones((5, 5))).astype(bool)
    found = render(both, Slide(PEACH))
    assert np.abs(found[inside].astype(int) - alone[inside]).max() <= 2


def test_far_from_the_cell_no_pixel_changes() -> None:
    ground = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)

    class OnGround(Scenes):
        def background(self, name: str, factors: tuple[float, float] = (1, 1)) -> np.ndarray:
            return ground

    source = OnGround(Slide(PEACH))
    placed = Placement("c", "i", "wbc", 50, 50, blend="scene", feather=1.5)
    recipe = Recipe("a", "scene", 100, 100, Background(PEACH, "g", "g"), (placed,))
    image = render(recipe, source)
    far = np.hypot(*(np.mgrid[:100, :100] - 49.5)) > 38
    assert np.array_equal(image[far], ground[far])


def test_a_mask_may_hold_some_slide() -> None:
    wide = Slide(PEACH)
    wide.mask[40:64, 78:88] = True
    rows, columns = np.flatnonzero(wide.mask.any(axis=1)), np.flatnonzero(wide.mask.any(axis=0))
    wide.box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    patch = make_patch(
        wide.cutout("c", margin=9).rgb, wide.cutout("c", margin=9).mask, style="isolated"
    )
    left = wide.box[0] - PAD
    covered = np.flatnonzero((patch.edge > EDGE).any(axis=0)) + left
    assert covered.max() <= 80


def test_the_edge_is_where_half_of_the_density_is() -> None:
    source = Slide(PEACH)
    cutout = source.cutout("c", margin=9)
    patch = make_patch(cutout.rgb, cutout.mask, style="isolated")
    middle = patch.edge[patch.edge.shape[0] // 2].astype(float)
    across = (middle - EDGE) / LEVELS
    left = np.interp(0, across[:20], np.arange(20) + 0.5) + source.box[0] - PAD
    assert left == pytest.approx(48 - 29, abs=0.7)  # half of 0.4 lies at a distance of 29


def test_the_slide_is_known_beside_neighbours() -> None:
    source = Slide(PEACH, neighbour=True)
    cutout = source.cutout("c", margin=9)
    assert np.abs(np.array(slide_around(cutout.rgb, cutout.mask)) - PEACH).max() <= 1
    full = np.full((9, 9, 3), (200, 180, 170), np.uint8)
    assert slide_around(full, np.ones((9, 9), bool)) == (200, 180, 170)


def test_a_cell_without_surroundings_can_be_laid() -> None:
    generator = np.random.default_rng(1)
    rgb = generator.integers(60, 120, (20, 24, 3)).astype(np.uint8)
    source = OneCell(rgb, np.ones((20, 24), bool))
    image = render(one_cell_recipe((60, 60), PEACH, blend="scene", feather=1.0), source)
    assert image[30, 30].max() < 150
    assert (image[5, 5] == PEACH).all()
