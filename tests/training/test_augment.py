"""Augmentation: exact where it can be, by the formula where it cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.rng import rng
from naturalize.imaging.slide import slide_colour
from naturalize.training.augment import (
    OPERATIONS,
    Augmentation,
    apply,
    colour_table,
    draw,
    operate,
)
from naturalize.training.settings import AugmentSettings

OFF = AugmentSettings(
    flips=False, right_angles=False, rotate=0, zoom=0, shift=0, stain=0, brightness=0
)


def picture(side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@given(seed=st.integers(0, 50))
def test_everything_off_draws_nothing_and_changes_nothing(seed):
    change = draw(OFF, rng(seed, "x"))
    assert change == Augmentation()
    np.testing.assert_array_equal(apply(picture(), change), picture())


@given(seed=st.integers(0, 200))
def test_draws_stay_within_the_settings(seed):
    settings = AugmentSettings(rotate=30, zoom=0.2, shift=0.1, stain=0.3, brightness=0.2)
    change = draw(settings, rng(seed, "x"))
    assert abs(change.angle) <= 30
    assert 0.8 <= change.zoom <= 1.2
    assert max(map(abs, change.shift)) <= 0.1
    assert all(0.7 <= gain <= 1.3 for gain in change.gain)
    assert abs(change.offset) <= 0.2
    assert change.turns in range(4)


def test_turning_one_part_off_leaves_the_other_draws_as_they_are():
    full = draw(AugmentSettings(), rng(3, "x"))
    part = draw(AugmentSettings(flips=False, stain=0.0), rng(3, "x"))
    assert (part.angle, part.zoom, part.offset) == (full.angle, full.zoom, full.offset)
    assert part.gain == (1.0, 1.0, 1.0)


def test_all_eight_symmetries_are_drawn_equally_often():
    found = [draw(AugmentSettings(), rng(0, i)) for i in range(4000)]
    counts = np.zeros((2, 4))
    for change in found:
        counts[int(change.flip), change.turns] += 1
    assert counts.min() > 400


@given(turns=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 9))
def test_flips_and_turns_only_move_pixels_and_can_be_undone(turns, flip, seed):
    image = picture(seed=seed)
    moved = apply(image, Augmentation(flip=flip, turns=turns))
    back = np.rot90(moved, -turns)
    np.testing.assert_array_equal(back[:, ::-1] if flip else back, image)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_free_rotation_by_right_angles_is_the_exact_rotation(quarter):
    image = picture(15)
    rotated = apply(image, Augmentation(angle=90.0 * quarter))
    np.testing.assert_array_equal(rotated, np.rot90(image, quarter))


@given(turns=st.integers(0, 3), flip=st.booleans(), seed=st.integers(0, 9))
def test_with_a_free_part_flips_and_turns_are_the_same(turns, flip, seed):
    image = picture(15, seed)
    exact = apply(image, Augmentation(flip=flip, turns=turns))
    # a quarter forth and, by the free part, back: the warp must find every pixel again
    warped = apply(image, Augmentation(flip=flip, turns=(turns + 1) % 4, angle=-90.0))
    np.testing.assert_array_equal(warped, exact)


def test_the_warp_leaves_a_picture_as_sharp_as_it_was():
    noise = rng(0).normal(128, 60, (96, 96))
    image = np.repeat(cv2.GaussianBlur(noise, (0, 0), 0.7)[..., None], 3, axis=2)
    image = np.clip(image, 0, 255).astype(np.uint8)

    def edges(picture: np.ndarray) -> float:
        return float(cv2.Laplacian(picture[20:-20, 20:-20, 0], cv2.CV_64F).std())

    found = [
        edges(apply(image, Augmentation(angle=angle, shift=(0.013, -0.007)))) / edges(image)
        for angle in (-13.0, -6.0, 3.0, 8.0, 15.0)
    ]
    assert np.mean(found) == pytest.approx(1, abs=0.1)  # of a bilinear one 0.66


def test_a_shift_moves_the_picture_by_that_share_of_the_side():
    image = picture(20)
    moved = apply(image, Augmentation(shift=(0.1, -0.05)))
    np.testing.assert_array_equal(moved[:-1, 2:], image[1:, :-2])


def test_zoom_enlarges_about_the_centre():
    image = np.zeros((41, 41, 3), np.uint8)
    image[16:25, 16:25] = 255
    grown = apply(image, Augmentation(zoom=2.0))[..., 0] > 127
    rows, columns = np.nonzero(grown)
    assert (rows.min() + rows.max(), columns.min() + columns.max()) == (40, 40)
    assert rows.max() - rows.min() + 1 == pytest.approx(18, abs=1)


@given(
    gain=st.tuples(*[st.floats(0.5, 1.5)] * 3),
    offset=st.floats(-0.2, 0.2),
    value=st.integers(0, 255),
)
def test_colour_follows_beer_lambert(gain, offset, value):
    changed = apply(np.full((2, 2, 3), value, np.uint8), Augmentation(gain=gain, offset=offset))
    density = -np.log((value + 1) / 256) * np.array(gain) + offset
    expected = np.clip(256 * np.exp(-density) - 1, 0, 255)
    assert np.abs(changed[0, 0] - expected).max() <= 0.5 + 1e-6


def test_stain_leaves_clear_glass_clear():
    table = colour_table((1.3, 0.7, 1.1), 0.0)
    assert table.shape == (1, 256, 3)
    assert (table[0, 255] == 255).all()
    np.testing.assert_array_equal(
        colour_table((1.0, 1.0, 1.0), 0.0)[0], np.repeat(np.arange(256)[:, None], 3, 1)
    )


def test_blur_is_a_gaussian_in_shares_of_the_side():
    image = np.zeros((101, 101, 3), np.uint8)
    image[:, 50] = 255
    blurred = apply(image, Augmentation(blur=0.03))[50, :, 0].astype(float)
    offsets = np.arange(101) - 50
    spread = (blurred * offsets**2).sum() / blurred.sum()
    assert spread == pytest.approx((0.03 * 101) ** 2, rel=0.05)
    np.testing.assert_array_equal(apply(image, Augmentation(blur=0.001)), image)


def test_every_second_sample_is_blurred_and_the_share_alone_is_kept():
    settings = AugmentSettings(blur=0.01, alone=0.25)
    found = [draw(settings, rng(0, i)) for i in range(2000)]
    blurs = [change.blur for change in found]
    assert np.mean([blur > 0 for blur in blurs]) == pytest.approx(0.5, abs=0.05)
    assert max(blurs) <= 0.01
    assert np.mean([change.alone for change in found]) == pytest.approx(0.25, abs=0.04)


@pytest.fixture
def _needs_timm():
    pytest.importorskip("torch")
    from naturalize.models.torchvision_compat import ensure

    ensure()


def test_randaugment_draws_by_its_key_alone_and_leaves_other_draws_be():
    settings = AugmentSettings(randaugment=2, magnitude=7)
    first = draw(settings, rng(5, "a"))
    assert len(first.operations) == 2
    assert {abs(strength) for _, strength in first.operations} == {0.7}
    assert first.operations != draw(settings, rng(5, "b")).operations
    assert draw(AugmentSettings(), rng(5, "a")) == replace(first, operations=())
    made = apply(picture(32), first)
    np.testing.assert_array_equal(apply(picture(32), first), made)
    assert made.dtype == np.uint8
    assert made.shape == (32, 32, 3)


def test_randaugment_draws_every_operation_to_both_sides_equally_often():
    settings = AugmentSettings(randaugment=1)
    drawn = [draw(settings, rng(seed, "x")).operations[0] for seed in range(3000)]
    counts = Counter(name for name, _ in drawn)
    assert set(counts) == set(OPERATIONS)
    assert all(abs(n - 200) < 60 for n in counts.values())  # 4 σ of a binomial
    assert 0.45 < np.mean([strength > 0 for _, strength in drawn]) < 0.55


#: What timm calls them.
TIMMS = {
    "autocontrast": "AutoContrast", "equalize": "Equalize", "invert": "Invert",
    "rotate": "Rotate", "posterize": "PosterizeIncreasing", "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd", "color": "ColorIncreasing", "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing", "sharpness": "SharpnessIncreasing", "shear_x": "ShearX",
    "shear_y": "ShearY", "translate_x": "TranslateXRel", "translate_y": "TranslateYRel",
}  # fmt: skip


@pytest.mark.usefixtures("_needs_timm")
@pytest.mark.parametrize("magnitude", [0, 3, 7, 9])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_is_timms(name, magnitude):
    from PIL import Image
    from timm.data.auto_augment import AugmentOp

    image = picture(40, 3)
    slide = tuple(round(value) for value in slide_colour(image))
    hparams = {"img_mean": slide, "interpolation": Image.Resampling.BILINEAR}
    theirs = AugmentOp(TIMMS[name], prob=1.0, magnitude=magnitude, hparams=hparams)
    ours = {operate(image, [(name, sign * magnitude / 10)]).tobytes() for sign in (-1, 1)}
    assert {np.array(theirs(Image.fromarray(image))).tobytes() for _ in range(24)} == ours


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_what_randaugment_moves_in_has_the_colour_of_the_slide(name):
    image = np.full((64, 64, 3), (250, 230, 200), np.uint8)
    image[20:44, 20:44] = (90, 60, 140)
    corners = operate(image, [(name, 0.9)])[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)
    assert np.abs(corners - (250, 230, 200)).max() <= 2


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_the_strongest_operation_still_gives_a_picture(name):  # timm's posterize keeps no bit there
    made = operate(picture(16), [(name, 1.0)])
    assert made.shape == (16, 16, 3)
    assert made.max() > 0
