"""The picture for the documentation, and how near the phantom's colours are to real smears."""

from __future__ import annotations

import numpy as np
import pytest
from tools.gallery import gallery, truth_overlay

from naturalize.base.images import read_image
from naturalize.dataset.phantom import render_phantom


def test_gallery_shows_every_class_and_one_truth():
    sheet = gallery(tile=60)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 6 * 66 + 6


def test_truth_overlay_changes_only_outlines_and_nuclei():
    phantom = render_phantom("SNE", 1, 1, size=(180, 181))
    changed = (truth_overlay(phantom) != phantom.image).any(-1)
    assert changed[phantom.nucleus_image()].mean() > 0.95
    assert 0.02 < changed.mean() < 0.4


def landmarks(image: np.ndarray) -> np.ndarray:
    """Return the colours of the empty slide, of the darkest part of the middle, of red cells."""
    light = image.sum(2)
    empty = np.median(image[light > np.percentile(light, 80)], 0)
    middle = image[120:243, 120:240].reshape(-1, 3)
    dark = np.median(middle[middle[:, 1] <= np.percentile(middle[:, 1], 15)], 0)
    flat = image.reshape(-1, 3)
    red = flat[(flat[:, 1] < 205) & (flat[:, 1] > 150) & (flat[:, 0] > 190)]
    return np.stack([empty, dark, np.median(red, 0)])


@pytest.mark.real
def test_colours_are_near_those_of_real_smears(real_data):
    files = [
        p for label in ("SNE", "MY", "LY") for p in sorted(real_data.glob(f"pbc/*/{label}_*"))[:15]
    ]
    real = [landmarks(read_image(p).astype(float)) for p in files]
    drawn = [
        landmarks(render_phantom(label, 0, i).image.astype(float))
        for label in ("SNE", "MY", "LY")
        for i in range(15)
    ]
    off = np.abs(np.median(real, 0) - np.median(drawn, 0))
    assert off.max() < 22, off
