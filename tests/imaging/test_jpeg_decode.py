"""Pixels before they were coded: closer to the original, and the same file when coded again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imaging_makers import smooth, through_libjpeg

from naturalize.imaging.jpeg.codec import BLOCK, Codec, coefficients, pixels_of, quantised, steps
from naturalize.imaging.jpeg.decode import before_coding


def borders(image: np.ndarray) -> float:
    """Return the mean step across the borders of blocks / that within them."""
    step = np.abs(np.diff(image.astype(float).mean(axis=2), axis=1))
    edge = np.arange(step.shape[1]) % BLOCK == BLOCK - 1
    return step[:, edge].mean() / step[:, ~edge].mean()


def grain(shape: tuple[int, int], key: str) -> np.ndarray:
    """Return slide with grain, and a few soft edges: what photographs of smears are."""
    image = smooth(shape, key).astype(float)
    noise = np.random.default_rng(1).normal(0, 2, image.shape)
    return np.clip(215 + 0.25 * (image - 150) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [60, 75, 90])
def test_it_is_nearer_to_what_was_coded(quality: int, subsampling: str) -> None:
    image = grain((160, 160), "scene")
    coded = through_libjpeg(image, quality, subsampling)
    soft = before_coding(coded, Codec(quality, subsampling))
    inner = np.s_[16:-16, 16:-16]
    off, was = (np.square(a[inner] - image[inner].astype(float)).mean() for a in (soft, coded))
    assert off < was
    assert abs(borders(soft[inner]) - 1) < abs(borders(coded[inner]) - 1)


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_coded_again_it_is_the_same_picture(quality: int) -> None:
    coded = through_libjpeg(grain((96, 120), "scene"), quality)
    again = through_libjpeg(before_coding(coded, Codec(quality, "4:4:4")), quality)
    off = np.abs(again.astype(int) - coded)
    # pixels are whole numbers in between: a coefficient at the end of its interval may fall outside
    assert (off > 2).mean() < 0.02
    assert off.mean() < 0.4


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["4:4:4", "4:2:0"]))
def test_a_part_finds_the_grid_of_its_image(x: int, y: int, subsampling: str) -> None:
    codec = Codec(75, subsampling)
    coded = through_libjpeg(grain((128, 128), "scene"), 75, subsampling)
    whole = before_coding(coded, codec)
    part = before_coding(coded[y : y + 80, x : x + 80], codec, (x, y))
    # units at a part's border are not whole, or are coded without what lies beside them
    inner = np.s_[32:48, 32:48]
    apart = np.abs(part[inner].astype(int) - whole[y : y + 80, x : x + 80][inner])
    assert apart.max() <= (0 if subsampling == "4:4:4" else 1)


def test_what_came_through_no_codec_stays() -> None:
    image = smooth((40, 40), "raw")
    assert before_coding(image, None) is image
    small = image[:6, :6]
    assert before_coding(small, Codec(75, "4:4:4"), (3, 3)) is small


def test_coefficients_and_pixels_are_one_another_s_inverse() -> None:
    image = smooth((24, 40), "both")
    back = pixels_of(coefficients(image.astype(np.float32)), (24, 40), whole=False)
    assert np.abs(back - image).max() < 0.1


def test_halves_are_rounded_away_from_zero() -> None:
    step = np.float32(4)
    values = np.array([-6.0, -2.0, -1.9, 0.0, 1.9, 2.0, 6.0], np.float32)
    assert quantised(values, step).tolist() == [-8, -4, 0, 0, 0, 4, 8]
    assert steps(75).shape == (3, 64)
    assert steps(75)[0, 0] == 8  # half of 16, Annex K
