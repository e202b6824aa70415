"""Near duplicates: copies are found whatever was done to them; other pictures are not."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from dataset_makers import jpeg, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from naturalize.dataset import relations
from naturalize.dataset.relations import near_duplicates, perceptual_hash, thumbnail

_CHANGES = {
    "re-encoded": lambda x: np.asarray(Image.open(io.BytesIO(jpeg(x, 40)))),
    "smaller": lambda x: cv2.resize(x, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA),
    "darker": lambda x: (x * 0.8 + 5).astype(np.uint8),
    "tinted": lambda x: (x * np.array([0.9, 1.0, 0.95])).astype(np.uint8),
    "turned": lambda x: np.rot90(x).copy(),
    "mirrored": lambda x: x[:, ::-1].copy(),
    "turned and mirrored": lambda x: np.rot90(x, 3)[::-1].copy(),
    "cropped by 1 %": lambda x: x[3:-3, 3:-3],
}


@pytest.mark.parametrize("change", _CHANGES)
def test_a_changed_copy_is_found_among_others(change):
    originals = [picture(seed, size=(300, 300)) for seed in range(20)]
    copies = [_CHANGES[change](image) for image in originals[:5]]
    smalls = np.stack([thumbnail(image) for image in originals + copies])
    assert near_duplicates(smalls) == [(i, 20 + i) for i in range(5)]


def test_different_cells_on_one_background_are_no_duplicates():
    smalls = []
    for seed in range(40):
        image = np.full((300, 300, 3), (253, 229, 203), np.uint8)
        g = np.random.default_rng(seed)
        for _ in range(9):
            centre = tuple(int(v) for v in g.integers(20, 280, 2))
            cv2.circle(image, centre, 26, (205, 160, 160), -1, cv2.LINE_AA)
        cv2.circle(image, (150, 150), 48, (190, 170, 215), -1, cv2.LINE_AA)
        axes = tuple(int(v) for v in g.integers(18, 40, 2))
        cv2.ellipse(image, (150, 150), axes, int(g.integers(180)), 0, 360, (90, 40, 130), -1)
        smalls.append(thumbnail(image))
    assert near_duplicates(np.stack(smalls)) == []


def test_tight_crops_of_round_dark_nuclei_are_no_duplicates():
    smalls = []
    for seed in range(40):
        g = np.random.default_rng(seed)
        image = np.full((200, 200, 3), (225, 215, 220), np.uint8)
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        waves = [g.normal(0, 5) * np.cos(k * angles + g.uniform(0, 6)) for k in (2, 3, 4, 5)]
        radius = g.uniform(55, 75) + sum(waves)
        outline = 100 + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(image, [outline.astype(np.int32)], (70, 50, 170), cv2.LINE_AA)
        mottle = cv2.resize(g.normal(0, 14, (16, 16, 1)), (200, 200))[:, :, None]
        image = np.clip(image + mottle, 0, 255).astype(np.uint8)
        smalls.append(thumbnail(image))
    assert near_duplicates(np.stack(smalls)) == []


def test_flat_pictures_and_few_pictures_match_nothing():
    flat = np.full((5, 32, 32), 200, np.uint8)
    assert near_duplicates(flat) == []
    assert near_duplicates(flat[:0]) == []
    assert near_duplicates(flat[:1]) == []


@given(st.integers(0, 10_000), st.integers(0, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_description_and_correlation_do_not_change_under_flips_and_turns(seed, turns, mirrored):
    small = np.random.default_rng(seed).integers(0, 255, (1, 32, 32)).astype(np.uint8)
    other = np.ascontiguousarray(relations._oriented(small, turns, mirrored))
    assert np.allclose(relations._descriptions(small), relations._descriptions(other), atol=1e-3)
    pair = relations._standardised(small), relations._standardised(other)
    assert relations._best_correlation(*pair)[0] == pytest.approx(1, abs=1e-4)
    assert relations._same(small, other).all()


def test_candidates_cross_blocks():
    originals = [picture(seed) for seed in range(11)]
    smalls = np.stack([thumbnail(image) for image in [*originals, originals[1], originals[9]]])
    whole = near_duplicates(smalls)
    assert near_duplicates(smalls, block=3) == whole == [(1, 11), (9, 12)]


def test_pictures_of_one_layout_do_not_flood_the_confirmation():
    base = picture(1, size=(64, 64)).astype(int)
    g = np.random.default_rng(0)
    alike = [
        np.clip(base + g.normal(0, 60, base.shape), 0, 255).astype(np.uint8) for _ in range(80)
    ]
    smalls = np.stack([thumbnail(image) for image in [*alike, alike[7]]])
    budget = -20 * len(smalls) + 30
    described = relations._descriptions(smalls)
    threshold = relations._threshold(described, budget)
    confirmed = sum(len(i) for i, _ in relations._candidates(described, threshold, 64))
    assert threshold > relations.CANDIDATE
    all_of_them = relations._candidates(described, relations.CANDIDATE, 64)
    assert confirmed < 200 < sum(len(i) for i, _ in all_of_them)
    assert (7, 80) in near_duplicates(smalls, budget=budget)


def test_perceptual_hash_is_stable_under_encoding_and_differs_between_pictures():
    def bits(image):
        return int(perceptual_hash(thumbnail(image)), 16)

    for seed in range(10):
        image, other = picture(seed, size=(200, 200)), picture(seed + 50, size=(200, 200))
        copy = np.asarray(Image.open(io.BytesIO(jpeg(image, 50))))
        assert (bits(image) ^ bits(copy)).bit_count() <= 4
        assert (bits(image) ^ bits(other)).bit_count() > 12
        assert len(perceptual_hash(thumbnail(image))) == 16
