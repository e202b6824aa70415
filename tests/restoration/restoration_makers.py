"""Phantom fields with and without their white cell: the same light, noise and other cells."""

from __future__ import annotations

import copy

import numpy as np

from naturalize.base.rng import rng
from naturalize.cells.segmentation import Cell
from naturalize.dataset.phantom import render_phantom, scene
from naturalize.dataset.phantom.stains import draw_light, draw_stain, expose


def twins(label: str, seed: int, index: int) -> tuple[np.ndarray, np.ndarray, list[Cell]]:
    """Return a phantom, the same one without its target, and its true cells."""
    phantom = render_phantom(label, seed, index)
    draw = rng(seed, "phantom", label, index)
    height, width = canvas = phantom.image.shape[:2]
    scale = min(width / scene.FIELD[0], height / scene.FIELD[1])
    stain, light = draw_stain(draw), draw_light(draw)
    layers = scene.draw_layers(draw, label, canvas, scale, stain)
    with_it, _ = scene.visible(layers, canvas)
    without = [layer for layer in with_it if not layer.is_target]
    images = [
        expose(scene.add_up(some, canvas), light, scale, copy.deepcopy(draw))
        for some in (with_it, without)
    ]
    assert np.array_equal(images[0], phantom.image)
    cells = [Cell(c.kind, c.box, c.mask, 1.0, c.nucleus) for c in phantom.cells]
    return images[0], images[1], cells


def disc(shape: tuple[int, int], x: float, y: float, r: float) -> np.ndarray:
    """Return a bool disc."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.hypot(columns - x, rows - y) <= r
