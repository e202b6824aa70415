"""Cells shown alone: masks from the bank in the view's frame, and what is left of the image."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naturalize.base.errors import SettingsError
from naturalize.imaging.runlength import encode
from naturalize.imaging.slide import isolated
from naturalize.models.preprocess import SLIDE_GREY, View
from naturalize.training.dataset import FoundMasks, TargetMasks, shown_mask
from naturalize.training.settings import AugmentSettings, TrainSettings

pytest.importorskip("torch")


def disc(side: int, x: int, y: int, radius: int) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.circle(mask, (x, y), radius, 255, -1)
    return mask


def bank_of(mask: np.ndarray, image_id: str = "a") -> SimpleNamespace:
    """A bank with the one target cell ``mask``, bool (H, W), of an image."""
    rows, columns = np.nonzero(mask)
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    cell = {
        "image_id": image_id,
        "x0": int(x0),
        "y0": int(y0),
        "x1": int(x1),
        "y1": int(y1),
        "mask": encode(mask[y0:y1, x0:x1]).tolist(),
    }
    return SimpleNamespace(cells=lambda **_: pa.Table.from_pylist([cell]))


def catalog_of(height: int, width: int) -> SimpleNamespace:
    rows = [{"image_id": name, "height": height, "width": width} for name in "ab"]
    return SimpleNamespace(table=pa.Table.from_pylist(rows))


@given(x=st.integers(30, 70), y=st.integers(30, 70), radius=st.integers(8, 18))
def test_the_cell_is_untouched_and_what_is_far_from_it_is_slide(x, y, radius):
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    mask = disc(100, x, y, radius)
    made = isolated(image, mask, (250.0, 230.0, 200.0))
    distance = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 5)
    far = distance > 9  # rim of 2, then a fade of three or four σ of 1
    assert (made[far] == (250, 230, 200)).all()
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) > 2
    assert np.abs(made[inside].astype(int) - image[inside]).max() <= 1


def test_masks_come_in_the_frame_of_the_view():
    mask = disc(100, 60, 40, 12) > 0
    view = View(50, crop=0.5)
    masks = TargetMasks(bank_of(mask), catalog_of(100, 100), view)
    assert len(masks) == 1
    np.testing.assert_array_equal(masks.get("a") > 127, mask[25:75, 25:75])
    assert masks.get("b") is None, "an image without a known cell"
    whole = TargetMasks(bank_of(mask), catalog_of(100, 100), View(200)).get("a")
    assert whole.shape == (200, 200)
    assert (whole > 127).sum() == pytest.approx(4 * mask.sum(), rel=0.02)


@pytest.mark.parametrize("balanced", [False, True])
def test_rows_show_cells_alone_on_their_slide(tmp_path, balanced):
    from naturalize.training.dataset import Rows
    from naturalize.training.pixels import PixelStore

    image = np.full((100, 100, 3), (250, 230, 200), np.uint8)
    image[disc(100, 50, 50, 15) > 0] = (90, 60, 140)
    image[disc(100, 15, 15, 10) > 0] = (215, 160, 165)
    view = View(100, balanced=balanced)
    masks = TargetMasks(bank_of(disc(100, 50, 50, 15) > 0), catalog_of(100, 100), view)
    source = type("Two", (), {"__len__": lambda _: 2, "read": lambda _, row: image})()
    store = PixelStore(tmp_path / "p", 2, 100)
    rows = Rows((source,), (store,), np.array([0, 1]), ("a", "b"), view, masks)
    shown = rows.alone(0)
    slide = (SLIDE_GREY,) * 3 if balanced else (250, 230, 200)
    assert np.abs(shown[15, 15].astype(int) - slide).max() <= 1, "its neighbour is gone"
    np.testing.assert_array_equal(shown[50, 50], rows.pixels(0)[50, 50])
    np.testing.assert_array_equal(rows.alone(1), rows.pixels(1))  # no mask: as it is


def test_without_a_bank_it_is_refused(toys, tmp_path):
    from naturalize.training.fit import train

    settings = TrainSettings(augment=AugmentSettings(alone=0.3), model="custom_cnn", device="cpu")
    with pytest.raises(SettingsError, match=r"augment\.alone.*name a cell bank, or set it to 0"):
        train(settings, *toys[:2], out=tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_images_without_a_bank_are_segmented_for_their_masks(tmp_path):
    from naturalize.base.images import write_image

    image = np.full((240, 240, 3), (250, 230, 200), np.uint8)
    drawn = disc(240, 130, 110, 40) > 0
    image[drawn] = (150, 110, 190)
    image[disc(240, 130, 110, 28) > 0] = (80, 40, 130)
    write_image(tmp_path / "a.png", image)
    write_image(tmp_path / "b.png", np.full_like(image, (250, 230, 200)))
    catalog = SimpleNamespace(path_of=lambda image_id: tmp_path / f"{image_id}.png")
    view = View(120, crop=0.5)
    masks = FoundMasks(catalog, view)
    found, expected = masks.get("a") > 127, drawn[60:180, 60:180]
    dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    assert dice > 0.9
    assert masks.get("b") is None


def test_shown_masks_follow_the_view():
    cell = np.ones((20, 30), bool)
    mask = shown_mask(cell, (40, 50, 70, 70), (100, 120), View(100, crop=1.0))
    whole = np.zeros((100, 120), np.uint8)
    whole[50:70, 40:70] = 255
    np.testing.assert_array_equal(mask, cv2.resize(whole, (100, 100), interpolation=cv2.INTER_AREA))
