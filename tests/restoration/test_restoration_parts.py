"""The parts of a background: light, codec, grain, outlines, red cells made whole."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from restoration_makers import disc, twins

from naturalize.base.images import decode_image
from naturalize.cells.segmentation import Cell
from naturalize.imaging.jpeg.codec import Codec
from naturalize.imaging.jpeg.estimate import estimate
from naturalize.imaging.jpeg.recode import code_region, units_of
from naturalize.restoration import illumination
from naturalize.restoration.masks import away_from, covered
from naturalize.restoration.red import completed, whole_outline
from naturalize.restoration.slide import copied_grain, fringe_at

SHAPE = (240, 256)


def through_jpeg(image: np.ndarray, quality: int, subsampling: str) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=quality, subsampling=subsampling)
    return decode_image(buffer.getvalue())[0]


@pytest.fixture(scope="module")
def phantom() -> tuple[np.ndarray, np.ndarray, list[Cell]]:
    return twins("SNE", 3, 1)


# light


@given(
    st.floats(-12, 12), st.floats(-12, 12), st.floats(-6, 6), st.integers(0, 5), st.integers(0, 99)
)
@settings(max_examples=15, deadline=None)
def test_light_is_found_under_cells(dx: float, dy: float, bow: float, n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    light = np.stack([220 + dx * x + dy * y - bow * (x * x + y * y)] * 3, axis=-1)
    mask = np.zeros(SHAPE, bool)
    for _ in range(n):
        mask |= disc(SHAPE, draw.uniform(0, 256), draw.uniform(0, 240), 30)
    image = light + draw.normal(0, 1, light.shape)
    image[mask] *= 0.5
    found = illumination(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask)
    assert found.dtype == np.float32
    assert np.abs(found - light).mean() < 0.8
    assert np.abs(found - light).max() < 6


def test_light_ignores_what_nobody_outlined() -> None:
    image = np.full((*SHAPE, 3), 230, np.uint8)
    image[60:110, 60:110] = 120
    assert np.abs(illumination(image, np.zeros(SHAPE, bool)) - 230).max() < 1


def test_light_without_any_slide_is_flat_and_bright() -> None:
    image = np.random.default_rng(0).integers(60, 200, (*SHAPE, 3), np.uint8)
    found = illumination(image, np.ones(SHAPE, bool))
    assert np.ptp(found, axis=(0, 1)).max() == 0
    assert found.mean() > 100


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (7, 5), (130, 3)])
def test_light_of_tiny_images(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    assert np.allclose(illumination(image, np.zeros(image.shape[:2], bool)), 200, atol=1)


def test_a_fringe_is_interpolated_and_ends() -> None:
    profile = np.linspace(-14, 0, 15)[:, None].repeat(3, axis=1).astype(np.float32)
    found = fringe_at(profile, np.array([[0.0, 1.0, 2.5, 14.0, 900.0]], np.float32))
    assert np.allclose(found[0, :, 0], [-14, -13, -11.5, 0, 0], atol=0.1)


# codec


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [50, 75, 85, 90])
def test_the_codec_is_read_from_pixels(phantom, quality: int, subsampling: str) -> None:
    found = estimate(through_jpeg(phantom[0], quality, subsampling))
    assert found == Codec(quality, subsampling)


def test_pixels_without_history_show_none(phantom) -> None:
    coded = through_jpeg(phantom[0], 75, "4:4:4")
    turned = cv2.warpAffine(coded, cv2.getRotationMatrix2D((180, 180), 7, 1), (360, 363))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for image in (phantom[0], coded[3:, 5:], turned, noise, np.full((64, 64, 3), 9, np.uint8)):
        assert estimate(image) is None


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_coding_again_changes_only_units_that_changed(phantom, subsampling: str) -> None:
    codec = Codec(75, subsampling)
    image = through_jpeg(phantom[0], 75, subsampling)
    changed = np.zeros(image.shape[:2], bool)
    changed[100:130, 50:71] = True
    altered = np.where(changed[..., None], 255 - image, image)
    found = code_region(altered, changed, codec)
    near = cv2.dilate(units_of(changed, codec.unit).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.array_equal(found[~near], image[~near])
    assert np.abs(found[changed].astype(int) - altered[changed]).mean() < 12
    assert estimate(found) == codec
    assert code_region(altered, changed, None) is altered


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([8, 16]), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_units_are_whole_and_hold_their_pixels(h: int, w: int, unit: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((h, w)) < 0.02
    found = units_of(mask, unit)
    assert found.shape == mask.shape
    assert (found | ~mask).all()
    for y in range(0, h, unit):
        for x in range(0, w, unit):
            block = np.s_[y : y + unit, x : x + unit]
            assert found[block].all() == found[block].any() == mask[block].any()


# grain


def test_grain_is_copied_as_it_is_on_the_grid() -> None:
    draw = np.random.default_rng(5)
    rest = draw.normal(0, 2, (*SHAPE, 3)).astype(np.float32)
    target = disc(SHAPE, 120, 110, 50)
    source = ~disc(SHAPE, 120, 110, 60)
    found, invented = copied_grain(rest, source, target, np.random.default_rng(1), unit=16)
    assert invented == 0
    assert not found[~target].any()
    # every block of the target is a block of the source a multiple of 16 pixels away
    block = found[104:112, 112:120]
    places = [
        (y, x)
        for y in range(8, SHAPE[0] - 7, 16)
        for x in range(0, SHAPE[1] - 7, 16)
        if np.array_equal(rest[y : y + 8, x : x + 8], block)
    ]
    assert len(places) == 1
    y, x = places[0]
    assert source[y : y + 8, x : x + 8].all()


def test_grain_without_a_source_is_noise_of_an_ordinary_photograph() -> None:
    rest = np.zeros((*SHAPE, 3), np.float32)
    target = disc(SHAPE, 120, 110, 50)
    draw = np.random.default_rng(1)
    found, invented = copied_grain(rest, np.zeros(SHAPE, bool), target, draw)
    assert invented == 1
    assert 0.3 < found[target].std() < 2


def test_noise_has_the_covariance_and_correlation_of_scattered_pixels() -> None:
    draw = np.random.default_rng(2)
    mixing = np.array([[2.0, 0, 0], [1.5, 1, 0], [0.5, 0, 0.7]])
    white = cv2.GaussianBlur(draw.normal(0, 1, (*SHAPE, 3)), (0, 0), 0.7)
    rest = (white / white.std() @ mixing.T).astype(np.float32)
    source = np.zeros(SHAPE, bool)
    source[:, ::9] = source[:, 1::9] = source[:, 2::9] = True  # no whole block is free
    found, invented = copied_grain(rest, source, ~source, draw)
    assert invented == 1
    values = found[~source]
    assert np.allclose(np.cov(values.T), mixing @ mixing.T, rtol=0.2, atol=0.15)
    inner = ~source[:, 1:] & ~source[:, :-1]
    a, b = found[:, 1:][inner], found[:, :-1][inner]
    alike = (a * b).mean() / (a * a).mean()
    true = (rest[:, 1:] * rest[:, :-1]).mean() / (rest**2).mean()
    assert abs(alike - true) < 0.1


# outlines and red cells


def cut_disc(x: float, y: float, r: float, over: np.ndarray) -> Cell:
    return Cell.from_mask("rbc", disc(SHAPE, x, y, r) & ~over)


@given(
    st.floats(90, 150), st.floats(90, 140), st.floats(28, 40), st.floats(0, 360),
    st.floats(0.35, 1.3),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_covered_disc_is_carried_on(
    x: float, y: float, r: float, degrees: float, off: float
) -> None:
    """``off``: distance of the cover's edge from the disc's middle, in radii."""
    a = np.deg2rad(degrees)
    reach = 60 + off * r
    over = disc(SHAPE, x + reach * np.cos(a), y + reach * np.sin(a), 60)
    away = away_from(over)
    cell = cut_disc(x, y, r, over)
    far = np.full(SHAPE, 1e4, np.float32)
    outline = whole_outline(cell, away <= 2, away <= 3, away <= 10, far, r)
    assert outline is not None
    whole = outline.inside(SHAPE)
    true = disc(SHAPE, x, y, r)
    assert 2 * (whole & true).sum() / (whole.sum() + true.sum()) > 0.96


def test_a_sliver_is_no_red_cell() -> None:
    over = disc(SHAPE, 120, 120, 60)
    away = away_from(over)
    cell = cut_disc(190, 120, 14, over)
    far = np.full(SHAPE, 1e4, np.float32)
    assert whole_outline(cell, away <= 3, away <= 4, away <= 10, far, 36) is None


def test_a_red_cell_is_made_whole_from_its_visible_part() -> None:
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]].astype(np.float32)
    r = np.hypot(x - 120, y - 110)
    ring = 90 - 40 * np.exp(-((r / 14) ** 2))  # paler in the middle
    true = 230 - ring * np.clip((36 - r) / 3, 0, 1)
    true = np.stack([true] * 3, axis=-1).astype(np.float32)
    over = disc(SHAPE, 175, 110, 40)
    away = away_from(over)
    light = np.full((*SHAPE, 3), 230, np.float32)
    cell = cut_disc(120, 110, 35, over)
    far = np.full(SHAPE, 1e4, np.float32)
    outline = whole_outline(cell, away <= 2, away <= 3, away <= 10, far, 35)
    image = np.where(over[..., None], 20, true).astype(np.float32)
    whole = completed(image, light, outline, away <= 3, away > 3)
    x0, y0, x1, y1 = whole.box
    solid = whole.opacity > 0.99
    error = np.abs(whole.colours - true[y0:y1, x0:x1])[solid]
    assert solid.sum() > 500
    assert error.mean() < 2.5
    assert 0.1 < whole.hidden < 0.6


def test_covered_is_the_union_of_cells() -> None:
    cells = [Cell.from_mask("rbc", disc(SHAPE, x, 100, 20)) for x in (5, 100, 110)]
    union = np.logical_or.reduce([disc(SHAPE, x, 100, 20) for x in (5, 100, 110)])
    assert np.array_equal(covered(SHAPE, cells), union)
    assert not covered(SHAPE, []).any()
