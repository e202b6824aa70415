"""What is left of the cells of a restored scene is what its picture shows."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from restoration_makers import disc, twins

from naturalize.base.errors import SettingsError
from naturalize.base.rng import rng
from naturalize.cells.segmentation import Cell
from naturalize.dataset.phantom import scene
from naturalize.dataset.phantom.stains import draw_light, draw_stain
from naturalize.restoration import constants
from naturalize.restoration import scene as restored
from naturalize.restoration.masks import covered
from naturalize.restoration.plan import remaining


def without_target(label: str, seed: int, index: int, shape: tuple[int, int]) -> np.ndarray:
    """Return where cells of a phantom are seen when its target is not there, bool (H, W)."""
    draw = rng(seed, "phantom", label, index)
    scale = min(shape[1] / scene.FIELD[0], shape[0] / scene.FIELD[1])
    stain, _ = draw_stain(draw), draw_light(draw)
    layers = scene.draw_layers(copy.deepcopy(draw), label, shape, scale, stain)
    with_it, _ = scene.visible(layers, shape)
    _, instances = scene.visible([layer for layer in with_it if not layer.is_target], shape)
    return instances > 0


@pytest.mark.parametrize(("label", "index"), [("SNE", 0), ("LY", 3), ("MO", 5), ("EO", 8)])
def test_cells_are_where_they_would_be_without_the_target(label: str, index: int) -> None:
    image, _, cells = twins(label, 4, index)
    shape = image.shape[:2]
    left = remaining(image, cells, remove="target")
    found = covered(shape, [cell for _, cell in left])
    wanted = without_target(label, 4, index, shape)
    assert (found & wanted).sum() / (found | wanted).sum() > 0.93
    # what the target hid of red cells comes back: without that, this place would be empty
    target = next(i for i, cell in enumerate(cells) if cell.kind == "wbc")
    behind = covered(shape, [cells[target]]) & wanted
    if behind.sum() > 200:
        assert (found & behind).sum() / behind.sum() > 0.5


@pytest.mark.parametrize("remove", ["target", "white", "all"])
def test_the_same_cells_go_as_from_the_picture(remove: str) -> None:
    image, _, cells = twins("BNE", 2, 1)
    gone = set(restored(image, cells, remove=remove, key="x").removed)
    left = remaining(image, cells, remove=remove)
    assert {i for i, _ in left} == set(range(len(cells))) - gone
    assert (remove == "all") == (not left)


def test_far_cells_are_left_as_they_were() -> None:
    image, _, cells = twins("SNE", 4, 0)
    near = covered(image.shape[:2], [cell for cell in cells if cell.kind == "wbc"])
    rows, columns = np.nonzero(near)
    for i, cell in remaining(image, cells, remove="white"):
        x0, y0, x1, y1 = cells[i].box
        aside = max(columns.min() - x1, x0 - columns.max(), rows.min() - y1, y0 - rows.max())
        if aside > 20:
            assert cell.box == cells[i].box
            np.testing.assert_array_equal(cell.mask, cells[i].mask)


def test_large_fields_are_looked_at_tile_by_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    image, _, cells = twins("MO", 4, 5)
    whole = dict(remaining(image, cells, remove="target"))
    monkeypatch.setattr(constants, "WHOLE", 100)
    monkeypatch.setattr(constants, "TILE", 192)
    tiled = dict(remaining(image, cells, remove="target"))
    shape = image.shape[:2]
    masks = [covered(shape, list(found.values())) for found in (whole, tiled)]
    assert (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum() > 0.97
    for i in whole.keys() & tiled.keys():
        a, b = covered(shape, [whole[i]]), covered(shape, [tiled[i]])
        assert (a & b).sum() / (a | b).sum() > 0.8


def test_an_image_without_such_a_cell_keeps_all() -> None:
    image = np.full((60, 60, 3), 230, np.uint8)
    cells = [Cell.from_mask("rbc", disc((60, 60), 20, 20, 9))]
    ((i, cell),) = remaining(image, cells, remove="white")
    assert (i, cell) == (0, cells[0])
    assert remaining(image, [], remove="all") == []
    with pytest.raises(SettingsError, match="target"):
        remaining(image, cells, remove="targets")
