"""Corruptions: nothing at strength 0, more at each further one, and known amounts where known.

The kept sheet is that of the documentation. After a change that is meant, look at the new one and
keep it: ``NATURALIZE_KEEP_GOLDEN=1 pytest tests/imaging/test_corruptions.py``.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.dataset.phantom import CLASSES, render_phantom
from naturalize.imaging.corruptions import CORRUPTIONS, STRENGTHS, corrupt, corruption_sheet
from naturalize.imaging.slide import slide_colour

SHEET = Path(__file__).parents[2] / "docs" / "assets" / "corruptions.jpg"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "evaluate.md"

NAMES = pytest.mark.parametrize("name", CORRUPTIONS)


@cache
def phantom(label: str) -> np.ndarray:
    return render_phantom(label, seed=3, index=0, size=(120, 121)).image


def away(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image.astype(float) - other).mean())


@NAMES
@settings(max_examples=6, deadline=None)
@given(label=st.sampled_from(CLASSES), seed=st.integers(0, 10**6))
def test_more_strength_is_farther_from_the_image(name: str, label: str, seed: int) -> None:
    image = phantom(label)
    made = [corrupt(image, name, strength, seed=seed) for strength in (0, *STRENGTHS)]
    far = [away(image, one) for one in made]
    assert far[0] == 0
    assert far[1] > 0
    assert far == sorted(far)


@NAMES
@settings(max_examples=4, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    level=st.integers(0, 255),
    strength=st.sampled_from((0, *STRENGTHS)),
)
def test_shape_and_type_stay_whatever_the_image(
    name: str, shape: tuple[int, int], level: int, strength: int
) -> None:
    image = np.full((*shape, 3), level, np.uint8)
    made = corrupt(image, name, strength)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    assert made is not image
    assert (image == level).all()


@NAMES
def test_seed_and_key_decide_all(name: str) -> None:
    image = phantom("SNE")
    one = corrupt(image, name, 3, seed=1, key="a")
    assert np.array_equal(one, corrupt(image, name, 3, seed=1, key="a"))
    drawn = {corrupt(image, name, 3, seed=s, key=k).tobytes() for s in range(6) for k in "ab"}
    assert len(drawn) == 1 if name in ("defocus", "JPEG") else len(drawn) > 1


def test_exposure_is_light_on_a_camera_of_gamma_2_2() -> None:
    image = phantom("LY")
    for strength, stops in zip(STRENGTHS, (0.15, 0.3, 0.5, 0.75, 1.0), strict=True):
        light = (image / 255) ** 2.2
        either = [
            np.clip(255 * (light * 2.0 ** (sign * stops)) ** (1 / 2.2), 0, 255) for sign in (-1, 1)
        ]
        off = [np.abs(corrupt(image, "exposure", strength) - one).max() for one in either]
        assert min(off) <= 0.51


def test_jpeg_is_that_of_another_library() -> None:
    image = phantom("MO")
    for strength, quality in zip(STRENGTHS, (75, 50, 30, 18, 10), strict=True):
        coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]
        assert away(corrupt(image, "JPEG", strength), decoded) < 0.5


def test_white_balance_changes_red_and_blue_as_wiens_law_and_never_green() -> None:
    grey = np.full((8, 8, 3), 120, np.uint8)
    for strength, mired in zip(STRENGTHS, (10, 20, 40, 60, 90), strict=True):
        red, green, blue = corrupt(grey, "white balance", strength)[0, 0].astype(float)
        warm = np.sign(red - 120) * mired * 1e-6
        # radiance of a lamp at T, by Wien: exp(-c2 / (wavelength T)); 1 / T is in mired
        wanted = [np.exp(14387.77 * warm * (1 / 0.54 - 1 / w)) ** (1 / 2.2) for w in (0.60, 0.45)]
        assert green == 120
        np.testing.assert_allclose([red / 120, blue / 120], wanted, atol=0.0043)


def test_blurs_keep_light_and_stain_keeps_the_slide() -> None:
    image = phantom("BA")
    for name in ("defocus", "motion"):
        assert abs(corrupt(image, name, 3).mean() - image.mean()) < 1
    for seed in range(4):
        made = corrupt(image, "stain", 5, seed=seed)
        np.testing.assert_allclose(slide_colour(made), slide_colour(image), atol=2)


def test_a_point_is_spread_over_the_blur_circle() -> None:
    point = np.zeros((73, 73, 3), np.uint8)
    point[36, 36] = 255
    radius = 1.0 * np.tan(np.arcsin(1.25 / 1.515)) * 73 / 36  # a defocus of 1 µm
    lit = corrupt(point, "defocus", 5)[..., 0] > 0
    assert lit.sum() == pytest.approx(np.pi * (radius + 0.5) ** 2, rel=0.15)


@pytest.mark.parametrize(
    ("image", "name", "strength", "error", "said"),
    [
        (np.zeros((4, 4), np.uint8), "JPEG", 1, InputError, "RGB uint8"),
        (np.zeros((4, 4, 3)), "JPEG", 1, InputError, "float64"),
        (np.zeros((0, 4, 3), np.uint8), "JPEG", 1, InputError, "RGB uint8"),
        (np.zeros((4, 4, 3), np.uint8), "jpg", 1, SettingsError, "JPEG"),
        (np.zeros((4, 4, 3), np.uint8), "JPEG", 6, SettingsError, "0 to 5"),
    ],
)
def test_what_cannot_be_is_refused(image, name, strength, error, said) -> None:
    with pytest.raises(error, match=said):
        corrupt(image, name, strength)


def test_the_sheet_is_the_one_that_was_kept_and_the_page_names_all() -> None:
    image = render_phantom("SNE", seed=0, index=0).image
    sheet = corruption_sheet(image, tile=88)
    if os.environ.get("NATURALIZE_KEEP_GOLDEN"):
        write_image(SHEET, sheet, quality=85)
    kept = read_image(SHEET)
    assert kept.shape == sheet.shape
    # tile by tile, so that one change is seen; it is kept as a JPEG
    off = cv2.resize(np.abs(kept.astype(np.float32) - sheet), None, fx=1 / 46, fy=1 / 46,
                     interpolation=cv2.INTER_AREA)  # fmt: skip
    assert off.max() < 12
    page = PAGE.read_text()
    for name, one in CORRUPTIONS.items():
        amounts = ", ".join(f"{amount:g}" for amount in one.amounts)
        assert f"| {name} | {one.what} | {one.amount}: {amounts} | {one.origin} |" in page
