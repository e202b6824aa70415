"""What is painted on a scene goes through its codec: as libjpeg does it, on any turned grid."""

from __future__ import annotations

import numpy as np
import pytest
from imaging_makers import smooth, through_libjpeg

from naturalize.imaging.jpeg.codec import Codec
from naturalize.imaging.jpeg.grid import dihedral
from naturalize.imaging.jpeg.recode import code_changes


def place(turn: int = 0, x: int = 0, y: int = 0) -> tuple[int, int, int]:
    return turn, x, y


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_changed_blocks_become_what_libjpeg_would_make_of_them(quality: int) -> None:
    scene = through_libjpeg(smooth((80, 96), "scene"), quality)
    painted = scene.copy()
    painted[20:50, 30:70] = smooth((30, 40), "cell")
    done = code_changes(painted, scene, scene, Codec(quality, "4:4:4"), place(), (96, 80))
    blocks = np.s_[16:56, 24:72]
    outside = np.ones(scene.shape[:2], bool)
    outside[blocks] = False
    assert np.array_equal(done[outside], scene[outside])
    expected = through_libjpeg(painted, quality)
    off = np.abs(done[blocks].astype(int) - expected[blocks])
    # libjpeg's integer cosines round a few coefficients the other way
    assert (off > 2).mean() < 0.05
    assert off.mean() < 0.6


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize(("x", "y"), [(0, 0), (5, 11)])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_the_grid_is_the_scene_s_own_however_it_lies(
    turn: int, x: int, y: int, subsampling: str
) -> None:
    codec = Codec(75, subsampling)
    scene = through_libjpeg(smooth((73, 90), "scene"), 75, subsampling)
    cell = smooth((73, 90), "cell")
    inside = np.zeros((73, 90), bool)
    inside[24:48, 24:64] = True
    upright = np.where(inside[..., None], cell, scene)
    whole = code_changes(upright, scene, scene, codec, place(), (90, 73))

    def seen(image: np.ndarray) -> np.ndarray:
        laid = dihedral(image, turn >= 4, turn % 4)
        return np.ascontiguousarray(laid[y:, x:])

    done = code_changes(*map(seen, (upright, scene, scene)), codec, place(turn, x, y), (90, 73))
    # at the canvas' own edge a codec does not see what the whole scene shows it
    apart = np.abs(done.astype(int) - seen(whole))[16:-16, 16:-16]
    assert apart.max() <= (0 if subsampling == "4:4:4" else 3)


def test_a_canvas_that_nothing_was_painted_on_stays_as_it_is() -> None:
    scene = through_libjpeg(smooth((64, 64), "scene"), 75)
    shown = smooth((64, 64), "shown")
    done = code_changes(scene, scene, shown, Codec(75, "4:4:4"), place(3), (64, 64))
    assert np.array_equal(done, shown)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_only_units_that_were_painted_on_are_not_shown_as_they_were(subsampling: str) -> None:
    codec = Codec(75, subsampling)
    before, shown = smooth((96, 96), "before"), smooth((96, 96), "shown")
    painted = before.copy()
    painted[40:44, 50] += 9
    done = code_changes(painted, before, shown, codec, place(), (96, 96))
    apart = (done != shown).any(axis=2)
    assert apart.any()
    rows, columns = (np.flatnonzero(apart.any(axis=axis)) for axis in (1, 0))
    far = 0 if subsampling == "4:4:4" else 16  # a decoder smooths colour into the next unit
    unit = codec.unit
    assert rows[0] >= 40 // unit * unit - far
    assert rows[-1] < -(-44 // unit) * unit + far
    assert columns[0] >= 50 // unit * unit - far
    assert columns[-1] < -(-51 // unit) * unit + far
