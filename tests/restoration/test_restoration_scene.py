"""Scenes without their cells, against phantoms that never had them, and on difficult input."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from blind_trial import STATISTICS, blind_trial, slide_statistics
from restoration_makers import disc, twins

from naturalize.base.errors import SettingsError
from naturalize.base.images import decode_image, encode_image, read_image
from naturalize.cells.segmentation import Cell
from naturalize.cells.segmenters import segmenter
from naturalize.imaging.jpeg.recode import units_of
from naturalize.restoration import USABLE, scene, without
from naturalize.restoration.masks import covered
from naturalize.restoration.plan import cells_to_remove
from naturalize.restoration.quality import Measures, grain_of, quality_of

CLASSES = ("BA", "EO", "LY", "MMY", "MO", "SNE", "PLT")


@pytest.fixture(scope="module")
def restored():
    """(before, truth, cells, restored) of phantoms, with their true masks."""
    found = []
    for label in CLASSES:
        before, truth, cells = twins(label, 5, 2)
        found.append((before, truth, cells, scene(before, cells, remove="target", key=label)))
    return found


def test_the_scene_is_as_if_the_cell_had_never_been(restored) -> None:
    for before, truth, _, found in restored:
        off = np.abs(found.image.astype(int) - truth)[found.mask]
        was = np.abs(before.astype(int) - truth)[found.mask]
        # two draws of one grain differ by about 1.13 standard deviations
        grain = np.abs(grain_of(truth)).mean()
        assert off.mean() < 0.12 * was.mean()
        assert np.median(off) < 3 + 3 * grain


def test_what_is_not_painted_stays_as_it_was(restored) -> None:
    for before, _, _, found in restored:
        assert found.codec is None
        assert np.array_equal(found.image[~found.mask], before[~found.mask])


def test_no_stain_is_left_in_the_ring(restored) -> None:
    for _, truth, cells, found in restored:
        gone = covered(truth.shape[:2], [c for c in cells if c.kind != "rbc"][-1:])
        ring = cv2.dilate(gone.astype(np.uint8), np.ones((21, 21))) > 0
        ring &= found.mask
        off = found.image.astype(int) - truth
        assert np.abs(np.median(off[ring], axis=0)).max() <= 2


def test_the_grain_is_the_slide_s_own(restored) -> None:
    for _, truth, cells, found in restored:
        cover = covered(truth.shape[:2], cells).astype(np.uint8)
        slide = cv2.dilate(cover, np.ones((13, 13))) == 0
        high = grain_of(found.image)
        red = covered(truth.shape[:2], [c for c in cells if c.kind == "rbc"]).astype(np.uint8)
        inside = found.mask & (cv2.dilate(red, np.ones((25, 25))) == 0)
        assert 0.75 < high[inside].std() / high[slide & ~found.mask].std() < 1.35


def test_good_scenes_are_called_good(restored) -> None:
    for *_, found in restored:
        assert found.quality > USABLE, (found.reasons, found.measures)


def test_the_whole_slide_can_be_bared() -> None:
    before, _, cells = twins("LY", 5, 1)
    found = scene(before, cells, remove="all", key="x")
    assert set(found.removed) == set(range(len(cells)))
    luminance = cv2.GaussianBlur(found.image, (0, 0), 3).astype(int)
    assert np.ptp(luminance[..., 1]) < 30
    assert found.measures.share > 0.3


def test_a_jpeg_s_history_goes_on_in_the_painted_part() -> None:
    before, _, cells = twins("EO", 6, 1)
    image = decode_image(encode_image(before, "jpeg", quality=75))[0]
    found = scene(image, cells, remove="target", key="x")
    assert found.codec is not None
    assert found.codec.quality == 75
    units = cv2.dilate(units_of(found.mask, 16).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.array_equal(found.image[~units], image[~units])
    # coded once more, the painted part hardly changes: it lies on the codec's steps already
    again = decode_image(encode_image(found.image, "jpeg", quality=75))[0]
    assert np.abs(again.astype(int) - found.image)[found.mask].mean() < 0.5


def test_equal_keys_give_equal_pixels_and_others_other_grain() -> None:
    before, _, cells = twins("MO", 6, 0)
    first, same, other = (scene(before, cells, remove="target", key=k) for k in ("a", "a", "b"))
    assert np.array_equal(first.image, same.image)
    assert np.array_equal(first.mask, other.mask)
    assert not np.array_equal(first.image, other.image)


def test_without_white_cells_the_image_comes_back() -> None:
    before, _, cells = twins("PLT", 6, 0)
    red = [cell for cell in cells if cell.kind == "rbc"]
    for remove in ("target", "white"):
        found = scene(before, red, remove=remove, key="x")
        assert np.array_equal(found.image, before)
        assert not found.mask.any()
        assert (found.quality, found.reasons, found.removed) == (1.0, (), ())


def test_the_target_is_large_and_central() -> None:
    shape = (360, 360)
    cells = [
        Cell.from_mask("platelet", disc(shape, 180, 180, 12)),
        Cell.from_mask("wbc", disc(shape, 40, 60, 35)),
        Cell.from_mask("wbc", disc(shape, 190, 170, 45)),
        Cell.from_mask("rbc", disc(shape, 300, 300, 35)),
    ]
    assert cells_to_remove(cells, shape, "target") == [2]
    assert cells_to_remove(cells, shape, "white") == [1, 2]
    assert cells_to_remove(cells, shape, "all") == [0, 1, 2, 3]
    assert cells_to_remove(cells[:1] + cells[3:], shape, "target") == [0]
    assert cells_to_remove(cells[3:], shape, "target") == []
    with pytest.raises(SettingsError, match="did you mean 'target'"):
        cells_to_remove(cells, shape, "targt")


def test_a_mask_some_pixels_too_small_leaves_no_ghost() -> None:
    before, truth, cells = twins("LY", 8, 1)
    target = next(i for i, cell in enumerate(cells) if cell.kind == "wbc")
    full = covered(before.shape[:2], [cells[target]])
    less = cv2.erode(full.astype(np.uint8), np.ones((7, 7))) > 0
    cells[target] = Cell.from_mask("wbc", less)
    found = without(before, cells, [target], key="x")
    off = np.abs(
        cv2.GaussianBlur(found.image, (0, 0), 2).astype(int) - cv2.GaussianBlur(truth, (0, 0), 2)
    )
    assert np.quantile(off[full], 0.95) < 12


GREY = np.repeat(np.random.default_rng(0).integers(90, 250, (96, 96, 1), np.uint8), 3, axis=2)


@pytest.mark.parametrize("remove", ["target", "white", "all"])
@pytest.mark.parametrize(
    "image",
    [np.full((96, 96, 3), 240, np.uint8), np.zeros((96, 96, 3), np.uint8), GREY],
    ids=["blank", "black", "grey noise"],
)
def test_any_image_with_any_mask_has_an_answer(image: np.ndarray, remove: str) -> None:
    shape = image.shape[:2]
    masks = (disc(shape, 0, 0, 30), disc(shape, 50, 50, 22), disc(shape, 95, 40, 20))
    kinds = ("wbc", "wbc", "rbc")
    cells = [Cell.from_mask(kind, mask) for kind, mask in zip(kinds, masks, strict=True)]
    found = scene(image, cells, remove=remove, key="x")
    assert found.image.shape == image.shape
    assert found.image.dtype == np.uint8
    assert 0 <= found.quality <= 1
    gone = set(cells_to_remove(cells, shape, remove))
    assert gone == ({0, 1, 2} if remove == "all" else {0, 1} if remove == "white" else {1})
    assert gone <= set(found.removed)
    assert found.mask[covered(shape, [cells[i] for i in gone])].all()
    units = cv2.dilate(units_of(found.mask, 16).astype(np.uint8), np.ones((33, 33))) > 0
    reached = found.mask if found.codec is None else units
    assert np.array_equal(found.image[~reached], image[~reached])
    # what is painted is as bright as what it lies between: none of these images has a cell
    if found.mask.mean() < 0.9:
        bare = image[~found.mask].astype(float)
        off = found.image[found.mask].mean() - bare.mean()
        assert abs(off) <= 0.15 * bare.std() + 1


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (9, 40)])
def test_a_cell_that_fills_a_tiny_image(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    found = scene(image, [Cell.from_mask("wbc", np.ones(shape, bool))], remove="white", key="x")
    assert found.image.shape == image.shape
    assert found.quality < USABLE
    assert found.reasons


def test_a_large_field_is_restored_in_tiles() -> None:
    before, truth, cells = twins("EO", 9, 1)
    wide = np.tile(before, (1, 4, 1))
    w = before.shape[1]
    every = [
        Cell(c.kind, (c.box[0] + k * w, c.box[1], c.box[2] + k * w, c.box[3]), c.mask)
        for k in range(4)
        for c in cells
    ]
    found = scene(wide, every, remove="white", key="x")
    assert len([i for i in found.removed if every[i].kind == "wbc"]) == 4
    off = np.abs(found.image.astype(int) - np.tile(truth, (1, 4, 1)))
    was = np.abs(wide.astype(int) - np.tile(truth, (1, 4, 1)))
    assert off[found.mask].mean() < 0.15 * was[found.mask].mean()
    assert np.array_equal(found.image[~found.mask], wide[~found.mask])


def test_quality_falls_with_every_fault_and_says_which() -> None:
    best, none = quality_of(Measures(share=0.1, grain=1.0, seam=1.0))
    assert (best, none) == (1.0, ())
    faults = {
        "share": 1.0, "reuse": 20.0, "invented": 1.0, "guessed": 0.7, "stain": 7.0, "residue": 70.0,
        "grain": 2.2, "seam": 4.0,
    }  # fmt: skip
    for name, value in faults.items():
        quality, reasons = quality_of(
            Measures(**{"share": 0.1, "grain": 1.0, "seam": 1.0, name: value})
        )
        assert quality < USABLE, name
        assert len(reasons) == 1


@pytest.mark.real
def test_real_scenes_have_the_grain_of_their_slides(real_data) -> None:
    find = segmenter("classical").segment
    files = [
        sorted((real_data / "pbc" / folder).glob(f"{prefix}_*.jpg"))[i]
        for folder, prefix in (("lymphocyte", "LY"), ("eosinophil", "EO"), ("ig", "MY"))
        for i in (3, 30, 300)
    ]
    grains, seams, good = [], [], 0
    for file in files:
        image = read_image(file)
        found = scene(image, find(image).cells, remove="white", key=file.stem)
        assert found.codec is not None
        grains.append(found.measures.grain)
        seams.append(found.measures.seam)
        good += found.quality > USABLE
        assert found.measures.stain < 2
    assert good >= 8
    assert 0.8 < np.nanmedian(grains) < 1.25
    assert 0.7 < np.nanmedian(seams) < 1.5


def test_statistics_of_known_noise() -> None:
    draw = np.random.default_rng(3)
    grey = np.rint(200 + draw.normal(0, 4, (300, 300, 1)))
    image = np.repeat(grey, 3, axis=2).astype(np.uint8)
    found = slide_statistics(image, np.ones((300, 300), bool))
    assert found["deviation"] == pytest.approx(np.log(4), abs=0.02)
    # the Laplacian weighs a pixel by 4 and four neighbours by 1
    assert found["laplacian"] == pytest.approx(np.log(4 * np.sqrt(20)), abs=0.02)
    assert max(abs(found[f"lag_{k}"]) for k in (1, 2, 8)) < 0.02
    assert found["red"] == pytest.approx(np.log(0.1))  # no colour: the least that is told


def test_a_blind_trial_needs_room() -> None:
    before, _, cells = twins("SNE", 9, 0)
    assert blind_trial(before, [*cells, Cell.from_mask("rbc", before[..., 0] > 0)], key="x") is None


@pytest.mark.real
def test_restored_real_slide_is_as_another_piece_of_it(real_data) -> None:
    find = segmenter("classical").segment
    trials = []
    for folder in ("lymphocyte", "monocyte", "neutrophil"):
        for file in sorted((real_data / "pbc" / folder).glob("*.jpg"))[50:1000:120]:
            image = read_image(file)
            trials.append(blind_trial(image, find(image).cells, key=file.stem))
    done = [trial for trial in trials if trial is not None]
    assert len(done) >= 10
    for name in STATISTICS:
        restored = [abs(trial.after[name] - trial.before[name]) for trial in done]
        natural = [abs(trial.beside[name] - trial.before[name]) for trial in done]
        assert np.median(restored) < 1.5 * np.median(natural) + 0.05, name
