"""Which mask is chosen, and what becomes of cells, against a stand-in that knows the truth."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sam_fakes import FakeModel, logits_of

from naturalize.base.errors import SettingsError
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.cells.segmenters import segmenter
from naturalize.cells.segmenters.sam.everything import everything, stability, suppressed
from naturalize.cells.segmenters.sam.limits import LEAST_QUALITY
from naturalize.cells.segmenters.sam.model import MAP, Frame
from naturalize.cells.segmenters.sam.prompted import cleaned, density, judge, middle, prompted
from naturalize.dataset.phantom import render_phantom

SHAPE = (256, 256)
SLIDE = (250.0, 230.0, 210.0)


def circle(x: float, y: float, radius: float, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(columns + 0.5 - x, rows + 0.5 - y) < radius


def smear(cell: np.ndarray, nucleus: np.ndarray | None = None) -> np.ndarray:
    image = np.full((*cell.shape, 3), SLIDE, np.uint8)
    image[cell] = (190, 150, 180)
    if nucleus is not None:
        image[nucleus] = (110, 60, 140)
    return image


CELL, NUCLEUS = circle(128, 128, 40), circle(132, 124, 22)
CLUMP = CELL | circle(190, 128, 40)
LEAK = CELL | circle(128, 60, 60)
RAGGED = CELL & ~circle(100, 100, 25)
FOUND = Cell.from_mask("wbc", circle(127, 129, 38), nucleus=NUCLEUS)


def verdict_of(*masks: np.ndarray, scores: tuple[float, ...] = (), cell: Cell = FOUND):
    maps = np.stack([logits_of(mask) for mask in masks])
    given = np.array(scores or (0.95,) * len(masks), np.float32)
    depth = density(smear(CELL, NUCLEUS), SLIDE)
    return judge(Frame.padded(SHAPE), maps, given, cell, depth)


def placed(verdict) -> np.ndarray:
    out = np.zeros(SHAPE, bool)
    x0, y0, x1, y1 = verdict.window
    out[y0:y1, x0:x1] = verdict.mask
    return out


@pytest.mark.parametrize(
    "wrong",
    [NUCLEUS, CLUMP, LEAK, RAGGED, ~CELL, np.ones(SHAPE, bool), np.zeros(SHAPE, bool)],
    ids=["nucleus", "clump", "leak", "ragged", "slide", "all", "nothing"],
)
def test_the_cell_is_chosen_whatever_the_model_prefers(wrong: np.ndarray) -> None:
    for masks, scores in (((CELL, wrong), (0.9, 1.0)), ((wrong, CELL), (1.0, 0.9))):
        verdict = verdict_of(*masks, scores=scores)
        chosen = placed(verdict)
        assert 2 * (chosen & CELL).sum() / (chosen.sum() + CELL.sum()) > 0.97
        assert 0.7 < verdict.quality <= 1


def test_of_equal_masks_the_surer_one_is_chosen_and_sets_the_quality() -> None:
    sure, unsure = verdict_of(CELL, scores=(0.96,)), verdict_of(CELL, scores=(0.48,))
    assert sure.quality == pytest.approx(2**0.5 * unsure.quality, rel=1e-5)
    assert verdict_of(CELL, CELL, scores=(0.48, 0.96)).quality == pytest.approx(sure.quality)
    assert verdict_of(CELL, scores=(1.7,)).quality <= 1


def test_a_mask_marked_elsewhere_too_is_worth_less() -> None:
    twice = CELL | circle(30, 30, 25)
    assert verdict_of(twice).quality < 0.9 * verdict_of(CELL).quality
    assert np.array_equal(placed(verdict_of(twice)), placed(verdict_of(CELL)))


def test_nothing_offered_is_no_verdict() -> None:
    assert verdict_of(np.zeros(SHAPE, bool)) is None


def test_holes_are_filled_and_crumbs_left_out() -> None:
    crumbs = circle(20, 20, 5) | circle(230, 30, 9)
    holed = (CELL & ~circle(128, 128, 6)) | crumbs
    assert np.array_equal(cleaned(holed, CELL), CELL)
    assert np.array_equal(cleaned(crumbs, CELL), circle(230, 30, 9))
    assert not cleaned(np.zeros(SHAPE, bool), CELL).any()


def found_with(*cells: Cell, shape: tuple[int, int] = SHAPE) -> Segmentation:
    return Segmentation(shape, cells, SLIDE)


def offering(*masks: np.ndarray, score: float = 0.9) -> FakeModel:
    return FakeModel(
        lambda image, at: (np.stack([logits_of(m) for m in masks]), [score] * len(masks))
    )


@pytest.mark.parametrize("by", ["boxes", "points"])
def test_a_cell_gets_the_models_outline_and_keeps_its_nucleus(by: str) -> None:
    crude = Cell.from_mask("wbc", circle(128, 128, 36), nucleus=NUCLEUS, score=0.3)
    out = prompted(smear(CELL, NUCLEUS), found_with(crude), offering(CELL, NUCLEUS), by=by)
    (cell,) = out.cells
    assert abs(cell.area - CELL.sum()) < 0.03 * CELL.sum()
    assert cell.nucleus.sum() == NUCLEUS.sum()
    assert cell.kind == "wbc"
    assert cell.score > 0.7
    assert out.background == SLIDE


def test_a_nucleus_is_cut_to_the_new_outline() -> None:
    wide = Cell.from_mask("wbc", circle(128, 128, 44), nucleus=circle(150, 128, 20))
    (cell,) = prompted(smear(CELL), found_with(wide), offering(CELL), by="boxes").cells
    assert not (cell.nucleus & ~cell.mask).any()
    assert 0 < cell.nucleus.sum() < wide.nucleus.sum()


def test_where_no_mask_is_the_cell_the_detectors_stays_and_says_so() -> None:
    (cell,) = prompted(
        smear(CELL), found_with(FOUND), offering(circle(60, 60, 12)), by="boxes"
    ).cells
    assert np.array_equal(cell.mask, FOUND.mask)
    assert cell.score == LEAST_QUALITY


def test_one_look_answers_for_all_cells() -> None:
    image = render_phantom("SNE", 3, 0).image
    cells = segmenter("classical").segment(image)
    model = FakeModel(lambda image, at: (-np.ones((2, *image.shape[:2])), [0.9, 0.9]))
    prompted(image, cells, model, by="boxes")
    assert (model.looks, model.prompts) == (1, len(cells.cells))


def test_the_middle_of_a_crescent_lies_in_it() -> None:
    crescent = Cell.from_mask("rbc", circle(128, 128, 40) & ~circle(140, 128, 36))
    x, y = middle(crescent)
    x0, y0 = crescent.box[:2]
    assert crescent.mask[int(y - y0), int(x - x0)]
    assert middle(Cell.from_mask("rbc", CELL)) == pytest.approx((128, 128), abs=0.6)


def test_stability_is_one_for_steep_and_low_for_flat_maps() -> None:
    steep, flat = logits_of(CELL, height=10), logits_of(CELL, height=0.05)
    found = stability(np.stack([steep, flat, np.full((MAP, MAP), -9.0)]))
    assert found[0] > 0.95
    assert found[1] < 0.5
    assert found[2] == 0


def test_of_equal_boxes_the_surest_stays() -> None:
    one = np.ones((10, 10), bool)
    masks = [
        Cell("wbc", (0, 0, 10, 10), one, 0.9),
        Cell("wbc", (0, 0, 10, 10), one, 0.95),
        Cell("wbc", (1, 0, 11, 10), one, 0.8),
        Cell("wbc", (7, 0, 17, 10), one, 0.7),
    ]
    assert [mask.score for mask in suppressed(masks)] == [0.95, 0.7]
    assert suppressed([]) == []


def oracle(phantom) -> FakeModel:
    """Answer each point as a perfect SAM would: subpart, part, whole."""
    shape = phantom.instances.shape
    nuclei = phantom.nucleus_image()

    @cache
    def masks_of(number: int, in_nucleus: bool) -> np.ndarray:
        cell = phantom.instances == number
        if not number:
            masks = [cell, np.ones(shape, bool), cell]
        else:
            masks = [cell & nuclei if in_nucleus else cell, cell, cell]
        return np.stack([logits_of(mask) for mask in masks])

    def answer(image: np.ndarray, at: tuple[float, float]):
        x, y = int(at[0]), int(at[1])
        return masks_of(int(phantom.instances[y, x]), bool(nuclei[y, x])), [0.93, 0.96, 0.95]

    return FakeModel(answer)


@pytest.mark.parametrize("label", ["LY", "SNE", "PLT"])
def test_everything_sorts_perfect_masks_into_kinds(label: str) -> None:
    phantom = render_phantom(label, 5, 1, size=(180, 182))
    model = oracle(phantom)
    out = everything(phantom.image, model, grid=9, least_score=0.88, least_stability=0.8)
    assert (model.looks, model.prompts) == (1, 81)
    found, true = out.label_image(), phantom.label_image()
    kinds = [2] + ([3] if label == "PLT" else [1])
    for kind in kinds:
        both = ((found == kind) & (true == kind)).sum()
        assert 2 * both / ((found == kind).sum() + (true == kind).sum()) > 0.85
    white = [cell for cell in out.cells if cell.kind == "wbc"]
    assert len(white) == (label != "PLT")
    assert all(cell.nucleus is not None and cell.nucleus.any() for cell in white)


def test_overlapping_discs_are_two_and_their_lens_and_clump_are_none() -> None:
    one, two = circle(100, 100, 30), circle(140, 100, 30)
    image = np.full((*SHAPE, 3), SLIDE, np.uint8)
    image[one | two | circle(60, 200, 30)] = (225, 175, 170)
    shown = [one & two, one | two, one, two, circle(60, 200, 30), ~one & ~two]

    def answer(image: np.ndarray, at: tuple[float, float]):
        here = [mask for mask in shown if mask[int(at[1]), int(at[0])]]
        masks = (here * 3)[:3]
        return np.stack([logits_of(mask) for mask in masks]), [0.97, 0.93, 0.9]

    out = everything(image, FakeModel(answer), grid=10, least_score=0.88, least_stability=0.8)
    assert [cell.kind for cell in out.cells] == ["rbc"] * 3
    assert all(abs(cell.area - one.sum()) < 0.05 * one.sum() for cell in out.cells)


def test_a_pale_centre_makes_no_clump_of_a_red_cell() -> None:
    cell, centre, paler = (circle(100, 100, radius) for radius in (32, 24, 19))
    image = np.full((*SHAPE, 3), SLIDE, np.uint8)
    image[cell | circle(190, 180, 30)] = (225, 175, 170)

    def answer(image: np.ndarray, at: tuple[float, float]):
        masks = [cell, centre, paler] if cell[int(at[1]), int(at[0])] else [~cell] * 3
        return np.stack([logits_of(mask) for mask in masks]), [0.9, 0.97, 0.98]

    out = everything(image, FakeModel(answer), grid=8, least_score=0.88, least_stability=0.8)
    assert [cell.kind for cell in out.cells] == ["rbc"]
    assert abs(out.cells[0].area - cell.sum()) < 0.05 * cell.sum()


def test_unsure_and_unstable_masks_are_not_taken() -> None:
    phantom = render_phantom("LY", 5, 1, size=(180, 182))
    perfect = oracle(phantom).answer
    unsure = FakeModel(lambda image, at: (perfect(image, at)[0], [0.5] * 3))
    flat = FakeModel(lambda image, at: (perfect(image, at)[0] * 0.01, [0.95] * 3))
    for model in (unsure, flat):
        out = everything(phantom.image, model, grid=6, least_score=0.88, least_stability=0.8)
        assert out.outcome == "no cell found"


def test_everything_on_a_blank_slide_finds_nothing() -> None:
    blank = np.full((90, 100, 3), SLIDE, np.uint8)
    model = FakeModel(lambda image, at: (np.ones((3, *image.shape[:2])) * 9, [0.99] * 3))
    out = everything(blank, model, grid=3, least_score=0.88, least_stability=0.95)
    assert out.outcome == "no cell found"
    assert out.shape == (90, 100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "box"}, "did you mean 'boxes'"),
        ({"detector": "sam"}, "cannot find cells for itself"),
        ({"grid": 0}, "grid: input should be greater than or equal to 1, found 0"),
        ({"least_score": 1.5}, "least_score: .* less than or equal to 1, found 1.5"),
        ({"threads": 0}, "threads"),
        ({"modes": "boxes"}, "did you mean 'mode'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        segmenter("sam", **settings)


def test_a_score_is_never_raised_where_the_detectors_mask_stays() -> None:
    poor = replace(FOUND, score=0.1)
    (cell,) = prompted(
        smear(CELL), found_with(poor), offering(circle(60, 60, 12)), by="boxes"
    ).cells
    assert cell.score == 0.1
