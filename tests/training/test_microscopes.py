"""Other microscopes: what they may change of a picture, and what of a cell they keep."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import SettingsError
from naturalize.base.rng import rng
from naturalize.training import augment
from naturalize.training.microscopes import Microscope, apply, draw
from naturalize.training.settings import AugmentSettings, TrainSettings

SLIDE = (235.0, 235.0, 235.0)


def cell(side: int = 96, radius: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """A purple disc with a darker nucleus on a slide with a red neighbour, and the disc's mask."""
    image = np.full((side, side, 3), 235, np.uint8)
    mask = np.zeros((side, side), np.uint8)
    middle = (side // 2, side // 2)
    cv2.circle(image, (8, 8), 14, (220, 160, 150), -1)
    cv2.circle(image, middle, radius, (190, 150, 200), -1)
    cv2.circle(image, middle, radius // 2, (90, 40, 140), -1)
    cv2.circle(mask, middle, radius, 255, -1)
    return image, mask


def seen(change: Microscope, masked: bool = True) -> np.ndarray:
    image, mask = cell()
    return apply(image, mask if masked else None, SLIDE, change)


def dark(image: np.ndarray) -> np.ndarray:
    return image[..., 1] < 100


@pytest.mark.parametrize("masked", [True, False])
def test_no_change_gives_the_image(masked):
    np.testing.assert_allclose(seen(Microscope(), masked).astype(int), cell()[0], atol=1)


def test_density_follows_beer_and_lambert():
    doubled = seen(Microscope(mixing=(2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0)))
    share = cell()[0] / 235
    np.testing.assert_allclose(doubled, 235 * share**2, atol=1.5)
    swapped = seen(Microscope(mixing=(0, 0, 1.0, 0, 1.0, 0, 1.0, 0, 0)))
    np.testing.assert_allclose(swapped, cell()[0][..., ::-1], atol=1)
    np.testing.assert_allclose(seen(Microscope(tone=2.0))[0, 90], 235, atol=1)


def test_a_tint_is_laid_over_the_cell_and_nothing_else():
    image, mask = cell()
    tinted = seen(Microscope(tint=(0.0, 0.0, 0.3)))
    inside = cv2.erode(mask, np.ones((9, 9))) > 0
    outside = cv2.dilate(mask, np.ones((11, 11))) == 0
    np.testing.assert_allclose(tinted[inside][:, 2], image[inside][:, 2] * 10**-0.3, atol=2)
    np.testing.assert_allclose(tinted[inside][:, :2], image[inside][:, :2], atol=1)
    np.testing.assert_allclose(tinted[outside].astype(int), image[outside], atol=1)


def test_an_isolated_cell_has_bare_slide_of_the_new_light_around_it():
    change = Microscope(isolated=True, light=(1.0, 0.9, 1.05))
    shown = seen(change)
    far = cv2.dilate(cell()[1], np.ones((25, 25))) == 0
    np.testing.assert_allclose(
        shown[far], np.broadcast_to([235, 211.5, 246.75], (far.sum(), 3)), atol=1
    )
    assert dark(shown).sum() == dark(seen(replace(change, isolated=False))).sum()


def test_a_wider_mask_shows_more_and_a_hull_fills_bays():
    image, mask = cell()
    notched = mask.copy()
    notched[40:56, 56:] = 0
    far = replace(Microscope(), isolated=True)
    stained = lambda made: (made[..., 1] < 200).sum()  # noqa: E731
    bay, hull = (
        apply(image, notched, SLIDE, far),
        apply(image, notched, SLIDE, replace(far, hull=True)),
    )
    assert stained(bay) < stained(hull) <= stained(apply(image, mask, SLIDE, far)) * 1.02
    narrow = apply(image, mask, SLIDE, replace(far, margin=-0.06))
    assert stained(narrow) < stained(apply(image, mask, SLIDE, far))


@pytest.mark.parametrize("turns", range(4))
def test_nothing_is_left_beyond_a_cut(turns):
    kept = 0.8
    shown = seen(Microscope(cut=(turns * np.pi / 2, kept), isolated=True))
    whole = seen(Microscope(isolated=True))
    stained = [(made[..., 1] < 200).sum() for made in (shown, whole)]
    assert stained[0] / stained[1] == pytest.approx(kept, abs=0.06)
    along = np.rot90(shown, turns)[:, 48 + 16 :]  # that direction now is to the right
    np.testing.assert_allclose(along, 235, atol=1)


@pytest.mark.parametrize("zoom", [0.7, 1.4])
def test_magnification_scales_areas(zoom):
    shown = seen(Microscope(linear=(zoom, 0.0, 0.0, zoom)))
    assert dark(shown).sum() == pytest.approx(zoom**2 * dark(cell()[0]).sum(), rel=0.08)


def test_lens_sensor_and_file_take_detail_away_or_add_noise():
    edge = lambda made: np.abs(np.diff(made[48, :, 1].astype(int))).max()  # noqa: E731
    plain = edge(seen(Microscope()))
    assert edge(seen(Microscope(blur=0.03))) < 0.6 * plain
    assert edge(seen(Microscope(resolution=0.25))) < 0.8 * plain
    assert edge(seen(Microscope(blur=0.01, sharpen=1.5))) > edge(seen(Microscope(blur=0.01)))
    slide = seen(Microscope(noise=6.0, seed=1))[80:, 80:].astype(float)
    assert slide.std() == pytest.approx(6.0, rel=0.15)
    coded = seen(Microscope(quality=30)).astype(int)
    assert 0 < np.abs(coded - cell()[0]).max() < 80


@given(seed=st.integers(0, 10**6))
def test_draws_are_reproducible_and_stay_in_their_ranges(seed):
    change = draw(rng(seed, "microscope"))
    assert change == draw(rng(seed, "microscope"))
    zoom = abs(np.linalg.det(np.reshape(change.linear, (2, 2)))) ** 0.5
    assert 0.62 - 1e-9 <= zoom <= 1.45 + 1e-9
    assert 0.25 <= change.resolution <= 1
    assert change.quality is None or 25 <= change.quality < 95
    assert change.cut is None or 0.75 <= change.cut[1] <= 1
    image, mask = cell(48, 10)
    made = apply(image, mask, SLIDE, change)
    assert made.shape == image.shape
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, apply(image, mask, SLIDE, change))


def test_every_part_is_drawn_and_as_often_as_it_should_be():
    found = [draw(rng(3, i)) for i in range(600)]
    for field in fields(Microscope):
        assert len({getattr(change, field.name) for change in found}) > 1, field.name
    grey = [np.allclose(np.reshape(c.mixing, (3, 3)), c.mixing[:3]) for c in found]
    assert np.mean(grey) == pytest.approx(0.12, abs=0.04)
    assert np.mean([change.isolated for change in found]) == pytest.approx(0.75, abs=0.05)
    flipped = [np.linalg.det(np.reshape(change.linear, (2, 2))) < 0 for change in found]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.06)


def test_an_image_without_a_cell_is_changed_as_a_whole():
    image = np.full((40, 40, 3), 200, np.uint8)
    for mask in (None, np.zeros((40, 40), np.uint8)):
        made = apply(image, mask, SLIDE, Microscope(isolated=True, cut=(0.0, 0.8), tint=(0.2,) * 3))
        np.testing.assert_allclose(made, 200, atol=1)


def test_the_share_of_samples_is_as_set_and_leaves_the_other_draws_as_they_are():
    settings = AugmentSettings(microscopes=0.3)
    found = [augment.draw(settings, rng(1, i)) for i in range(800)]
    shares = np.mean([change.microscope is not None for change in found])
    assert shares == pytest.approx(0.3, abs=0.05)
    plain = [augment.draw(AugmentSettings(), rng(1, i)) for i in range(800)]
    assert [replace(change, microscope=None) for change in found] == plain


def test_augmentations_have_names():
    assert TrainSettings(augment="microscopes").augment.microscopes > 0
    assert TrainSettings(augment="standard").augment == AugmentSettings()
    assert not TrainSettings(augment="none").augment.changes
    with pytest.raises(SettingsError, match=r"augment.*none, standard, varied, microscopes"):
        TrainSettings.parse({"augment": "microscope"})
