"""A picture as another stain and camera would show it."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from naturalize.base.errors import SettingsError
from naturalize.imaging.camera import Camera, field_camera, show

SLIDE = (250.0, 228.0, 204.0)


def picture() -> np.ndarray:
    """Return a slide with a stained square in its middle."""
    image = np.full((60, 80, 3), SLIDE, np.uint8)
    image[20:40, 30:50] = (120, 60, 150)
    return image


def test_a_camera_that_says_nothing_shows_the_picture() -> None:
    shown = show(picture(), SLIDE, Camera())
    assert np.abs(shown.astype(int) - picture()).max() <= 1


def test_densities_are_mixed_against_the_slide() -> None:
    swapped = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    shown = show(picture(), SLIDE, Camera(mixing=swapped))
    assert np.abs(shown[0, 0].astype(int) - SLIDE).max() <= 1
    red, green, blue = shown[30, 40]
    assert red == pytest.approx(250 * 60 / 228, abs=1)
    assert green == pytest.approx(228 * 120 / 250, abs=1)
    assert blue == pytest.approx(150, abs=1)


def test_tone_is_an_exponent_on_densities_and_light_a_factor_on_the_slide() -> None:
    shown = show(picture(), SLIDE, Camera(tone=2.0, light=(0.5, 1.0, 1.0)))
    assert shown[0, 0].tolist() == pytest.approx([125, 228, 204], abs=1)
    assert shown[30, 40, 1] == pytest.approx(228 * 10 ** -(np.log10(228 / 60) ** 2), abs=1)


def test_a_vignette_darkens_corners_and_a_slope_one_side() -> None:
    bare = np.full((60, 80, 3), 200, np.uint8)
    white = (200.0, 200.0, 200.0)
    dark = show(bare, white, Camera(vignette=0.4))[..., 0].astype(float)
    assert dark[30, 40] == pytest.approx(200, abs=1)
    assert dark[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == pytest.approx([120] * 4, abs=4)
    tilted = show(bare, white, Camera(slope=(-0.2, 0.0)))[..., 0].astype(float)
    assert tilted[30, 69] == pytest.approx(160, abs=1)  # half of the shorter side off the middle
    assert np.ptp(tilted, axis=0).max() == 0


def test_noise_is_named_by_its_seed_and_lengths_shrink_with_the_picture() -> None:
    noisy = Camera(noise=5.0, seed=3)
    a, b = (show(picture(), SLIDE, noisy).astype(int) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert 4 < (a - picture())[:15].std() < 6
    assert (show(picture(), SLIDE, replace(noisy, seed=4)) != a).any()
    np.testing.assert_array_equal(
        show(picture(), SLIDE, Camera(blur=4.0), 0.5), show(picture(), SLIDE, Camera(blur=2.0))
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixing": (1.0,) * 8}, {"mixing": 1.0}, {"light": (0.0, 1.0, 1.0)}, {"tone": 0.0},
        {"tone": float("nan")}, {"resolution": 1.5}, {"resolution": 0.0}, {"vignette": 1.0},
        {"blur": -1.0}, {"noise": -1.0}, {"seed": -1}, {"slope": (float("inf"), 0.0)},
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(wrong: dict) -> None:
    with pytest.raises(SettingsError, match="camera"):
        Camera(**wrong)


def test_every_part_is_in_its_content() -> None:
    for one in fields(Camera):
        value = getattr(Camera(), one.name)
        other = tuple(v + 0.25 for v in value) if isinstance(value, tuple) else 0.5
        changed = replace(Camera(), **{one.name: 1 if one.name == "seed" else other})
        assert changed.packed() != Camera().packed()


def test_the_amount_says_how_far_cameras_vary() -> None:
    still = [field_camera(np.random.default_rng(s), SLIDE, 0.0, 1.0) for s in range(8)]
    assert {replace(one, seed=0, middle=(0.0, 0.0), sharpen_sigma=1.0) for one in still} == {
        Camera(noise=1.0)
    }
    far = [field_camera(np.random.default_rng(s), SLIDE, 1.0, 1.0) for s in range(40)]
    assert len(set(far)) == 40
    assert field_camera(np.random.default_rng(3), SLIDE, 1.0, 1.0) == far[3]
    for one in far:
        light = np.array(SLIDE) * one.light
        assert (light > 0).all()
        assert (light <= 254).all()
