"""What the network is taught: agreement of the teachers, and nothing where they doubt."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))
labels = pytest.importorskip("tools.unet.labels", reason="tools/ is not beside the tests")
data = pytest.importorskip("tools.unet.data")

SHAPE = (120, 120)


def disc(x, y, radius):
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def candidate(kind, own, answer, *, nucleus=None, score=0.95, leak=0.0):
    return labels.Candidate(kind, own, nucleus, ((answer, score, leak),))


def test_where_teachers_differ_nothing_is_said():
    one = candidate("wbc", disc(60, 60, 20), disc(60, 60, 22))
    classes, instances = labels.targets(SHAPE, [one])
    assert set(np.unique(classes[disc(60, 60, 20)])) == {labels.CYTOPLASM}
    rim = disc(60, 60, 22) & ~disc(60, 60, 20)
    assert set(np.unique(classes[rim])) == {labels.IGNORE}
    assert (instances > 0).sum() == disc(60, 60, 20).sum()


def test_a_refused_mask_is_left_out_as_a_whole():
    one = candidate("wbc", disc(60, 60, 20), disc(20, 20, 10))
    classes, instances = labels.targets(SHAPE, [one])
    assert labels.accepted(one) is None
    assert set(np.unique(classes[disc(60, 60, 20)])) == {labels.IGNORE}
    assert not instances.any()


def test_a_leaking_mask_is_refused():
    assert labels.accepted(candidate("rbc", disc(60, 60, 20), disc(60, 60, 20), leak=0.1)) is None


def test_a_disc_that_covers_what_was_seen_of_a_red_cell_is_accepted():
    own = disc(60, 60, 20) & (np.arange(SHAPE[1]) < 62)
    whole = disc(60, 60, 20)
    assert labels.accepted(candidate("rbc", own, whole)) is not None
    assert labels.accepted(candidate("wbc", own, whole)) is None


def test_two_cells_in_one_outline_are_no_instance():
    own = disc(42, 60, 20) | disc(78, 60, 20)
    classes, instances = labels.targets(SHAPE, [candidate("wbc", own, own)])
    assert set(np.unique(classes[own])) == {labels.CYTOPLASM}
    assert set(np.unique(instances[own])) == {labels.SOME_CELL}


def test_an_image_labelled_as_platelet_shows_no_small_white_cell():
    red, small = disc(30, 30, 20), disc(90, 90, 10)
    found = [candidate("rbc", red, red), candidate("wbc", small, small, nucleus=small)]
    kinds = [c.kind for c in labels.corrected(found, True)]
    assert kinds == ["rbc", "platelet"]
    assert [c.kind for c in labels.corrected(found, False)] == ["rbc", "wbc"]
    assert labels.corrected(found[:1], False) is None


def test_arrows_of_a_cell_meet_in_its_middle():
    instances = np.zeros((192, 192), np.uint8)
    classes = np.zeros((192, 192), np.uint8)
    rows, columns = np.ogrid[:192, :192]
    cell = (columns - 100) ** 2 / 400 + (rows - 80) ** 2 / 900 <= 1
    instances[cell], classes[cell] = 7, labels.RED
    centre, offset, thing = data.centres(classes, instances)
    y, x = np.nonzero(cell)
    goal = y + data.UNIT * offset[0, y, x], x + data.UNIT * offset[1, y, x]
    assert np.abs(goal[0] - 80).max() < 0.01
    assert np.abs(goal[1] - 100).max() < 0.01
    assert np.unravel_index(centre.argmax(), centre.shape) == (80, 100)
    assert (thing > 0).sum() == cell.sum()


def test_a_sample_is_decided_by_its_generator_and_shows_what_its_maps_say():
    image = np.full((160, 160, 3), (250, 230, 205), np.uint8)
    classes, instances = np.zeros((2, 160, 160), np.uint8)
    rows, columns = np.ogrid[:160, :160]
    for number, (x, y) in enumerate([(50, 50), (110, 60), (70, 115)], 1):
        cell = (columns - x) ** 2 + (rows - y) ** 2 <= 22**2
        image[cell] = (180, 130, 150)
        classes[cell], instances[cell] = labels.RED, number
    example = data.Example(image, classes, instances, (250.0, 230.0, 205.0))
    for seed in range(12):
        one, two = (data.sample(example, [example], np.random.default_rng(seed)) for _ in range(2))
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert one["image"].shape == (3, data.SIDE, data.SIDE)
        assert 0 <= one["image"].min() <= one["image"].max() <= 1
        slide, red = one["classes"] == labels.SLIDE, one["classes"] == labels.RED
        if slide.sum() > 500 and red.sum() > 500:
            green = one["image"][1]
            assert green[slide].mean() > green[red].mean() + 0.02
