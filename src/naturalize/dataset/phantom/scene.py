"""One phantom image: the cells of a field, their optical density, and the exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from naturalize.base.errors import SettingsError, unknown
from naturalize.base.rng import rng
from naturalize.dataset.phantom import platelets, red_cells, shapes, white_cells
from naturalize.dataset.phantom.platelets import Platelet
from naturalize.dataset.phantom.shapes import Window
from naturalize.dataset.phantom.stains import Stain, draw_light, draw_stain, expose

#: Values of a label image, by kind of cell.
KIND_VALUES = {"wbc": 1, "rbc": 2, "platelet": 3}

#: The eleven classes, in the order of the ``pbc11`` scheme.
CLASSES = ("BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE")

#: Width and height of the field; images of another size show it larger or smaller.
FIELD = (360, 363)

#: The smallest side that still shows a nucleus' shape.
SMALLEST = 48

#: A cell of which less than this share is to be seen is left out.
LEAST_VISIBLE = 0.1

#: How much of what lies below a cell hides: a red cell is flattened where two lie over each other.
_OPACITY = {"wbc": 1.0, "rbc": 0.45, "platelet": 0.0}


@dataclass(frozen=True)
class PhantomCell:
    """The truth about one cell.

    ``instance`` is its value in `PhantomImage.instances`, ``kind`` one of ``"wbc"``, ``"rbc"`` and
    ``"platelet"``, ``label`` the class of the cell that the image is about (else None). ``box`` is
    ``x0, y0, x1, y1``, half-open pixels, of the visible part; ``mask``, bool (y1 - y0, x1 - x0), is
    that part, ``nucleus``, of the same shape, its nucleus (None for cells without one).
    """

    instance: int
    kind: str
    label: str | None
    box: tuple[int, int, int, int]
    mask: np.ndarray
    nucleus: np.ndarray | None


@dataclass(frozen=True)
class PhantomImage:
    """An image, RGB uint8 (H, W, 3), its class and the truth about it.

    ``instances``, int32 (H, W), is 0 on the background, otherwise the number of the cell to be seen
    there; ``cells`` holds one a number, in order, from the lowest to the topmost.
    """

    image: np.ndarray
    label: str
    instances: np.ndarray
    cells: tuple[PhantomCell, ...]

    @property
    def target(self) -> PhantomCell:
        """The cell that the image's label speaks of."""
        return next(cell for cell in self.cells if cell.label is not None)

    def label_image(self) -> np.ndarray:
        """Return uint8 (H, W): 0 background, 1 white cells, 2 red cells, 3 platelets."""
        values = np.array([0, *(KIND_VALUES[cell.kind] for cell in self.cells)], np.uint8)
        return values[self.instances]

    def nucleus_image(self) -> np.ndarray:
        """Return bool (H, W): the white cell's nucleus."""
        out = np.zeros(self.instances.shape, bool)
        for cell in self.cells:
            if cell.nucleus is not None:
                x0, y0, x1, y1 = cell.box
                out[y0:y1, x0:x1] |= cell.nucleus
        return out


@dataclass(frozen=True)
class Layer:
    """A cell ready to be laid down: where, its distance and its optical density."""

    kind: str
    at: Window
    inside: np.ndarray
    density: np.ndarray
    nucleus: np.ndarray | None = None
    is_target: bool = False


def render_phantom(
    label: str, seed: int, index: int, *, size: tuple[int, int] = FIELD
) -> PhantomImage:
    """Draw phantom image number ``index`` of class ``label``, one of `CLASSES`.

    Equal seeds and indices give the same image. ``size`` is width and height in pixels; the field
    is always about 360 × 363 field pixels, other sizes show the same kind of field enlarged or
    reduced. ``SettingsError`` for an unknown class, or a size below 48 or above 4096 pixels.

    Examples
    --------
    >>> picture = render_phantom("SNE", seed=0, index=3)
    >>> picture.image.shape, picture.target.kind
    ((363, 360, 3), 'wbc')
    """
    check_label(label)
    check_size(size)
    draw = rng(seed, "phantom", label, index)
    scale = min(size[0] / FIELD[0], size[1] / FIELD[1])
    canvas = (size[1], size[0])
    stain, light = draw_stain(draw), draw_light(draw)
    layers = draw_layers(draw, label, canvas, scale, stain)
    layers, instances = visible(layers, canvas)
    image = expose(add_up(layers, canvas), light, scale, draw)
    return PhantomImage(image, label, instances, _truth(layers, instances, label))


def check_label(label: str) -> None:
    """Raise ``SettingsError`` for a class that the phantom does not know."""
    if label not in CLASSES:
        raise unknown("phantom class", str(label), list(CLASSES))


def check_size(size: tuple[int, int]) -> None:
    """Raise ``SettingsError`` for a width or height out of range."""
    for name, value in zip(("width", "height"), size, strict=True):
        if not SMALLEST <= value <= 4096:
            raise SettingsError(f"size: {name} must be from {SMALLEST} to 4096 pixels, got {value}")


def draw_layers(
    draw: np.random.Generator,
    label: str,
    canvas: tuple[int, int],
    scale: float,
    stain: Stain,
) -> list[Layer]:
    """Draw all cells of the field, the lowest first: red cells, platelets, the white cell."""
    on = _Canvas(canvas, scale, stain)
    aside = np.clip(draw.standard_t(4, 2) * 5, -26, 26)
    centre = (on.extent[0] / 2 + float(aside[0]), on.extent[1] / 2 + float(aside[1]))
    if label == "PLT":
        radius = float(draw.uniform(19, 32))
        platelet = platelets.draw_platelet(draw, centre, radius)
        target = _platelet_layer(draw, on, platelet, is_target=True)
    else:
        radius = white_cells.draw_radius(draw, label)
        target = _white_layer(draw, on, label, centre, radius)
    assert target is not None
    others = _red_layers(draw, on, centre, radius, target)
    for platelet in _bystanders(draw, on.extent, centre, radius):
        others.append(_platelet_layer(draw, on, platelet))
    return [*(layer for layer in others if layer is not None), target]


@dataclass(frozen=True)
class _Canvas:
    """What a field is drawn on: (H, W) in pixels, pixels a field pixel, and the slide's dyes."""

    shape: tuple[int, int]
    scale: float
    stain: Stain

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height in field pixels."""
        return self.shape[1] / self.scale, self.shape[0] / self.scale

    def window(self, centre: tuple[float, float], reach: float) -> Window | None:
        return shapes.window(self.shape, centre, reach, self.scale)


def _white_layer(
    draw: np.random.Generator,
    on: _Canvas,
    label: str,
    centre: tuple[float, float],
    radius: float,
) -> Layer | None:
    if (at := on.window(centre, radius * 1.12 + 22)) is None:
        return None
    cell, nucleus, density = white_cells.paint_white_cell(draw, label, radius, at, on.stain)
    return Layer("wbc", at, cell, density, nucleus, True)


def _platelet_layer(
    draw: np.random.Generator, on: _Canvas, platelet: Platelet, *, is_target: bool = False
) -> Layer | None:
    if (at := on.window(platelet.centre, platelet.radius * 1.3 + 16)) is None:
        return None
    inside = platelets.distance(platelet, at)
    density = platelets.paint_platelet(platelet, at, inside, on.stain, draw)
    return Layer("platelet", at, inside, density, None, is_target)


def _red_layers(
    draw: np.random.Generator,
    on: _Canvas,
    centre: tuple[float, float],
    radius: float,
    target: Layer,
) -> list[Layer | None]:
    to_target = np.full(on.shape, shapes.FAR, np.float32)
    target.at.of(to_target)[...] = target.inside
    gap = draw.uniform(-1.5, 2.5)
    layers: list[Layer | None] = []
    for cell in red_cells.draw_red_cells(draw, on.extent, centre, radius):
        if (at := on.window(cell.centre, cell.radius * 1.25 + 2)) is None:
            continue
        inside = red_cells.distance(cell, at, at.of(to_target), gap)
        amount = red_cells.thickness(cell, at, inside)
        colour = on.stain["haemoglobin"] + np.float32(0.3 * cell.blueness) * on.stain["rna"]
        layers.append(Layer("rbc", at, inside, amount[..., None] * colour))
    return layers


def _bystanders(
    draw: np.random.Generator,
    extent: tuple[float, float],
    centre: tuple[float, float],
    radius: float,
) -> list[Platelet]:
    """Draw the platelets that lie about: none in half of the fields, seldom more than three."""
    found = []
    for _ in range(draw.poisson(draw.gamma(0.8, 1.1))):
        size = draw.uniform(9, 17)
        at = (draw.uniform(0, extent[0]), draw.uniform(0, extent[1]))
        if np.hypot(at[0] - centre[0], at[1] - centre[1]) > radius + size + 6:
            found.append(platelets.draw_platelet(draw, at, size))
    return found


def visible(layers: list[Layer], canvas: tuple[int, int]) -> tuple[list[Layer], np.ndarray]:
    """Leave out cells that are hidden by others; number what is left, from the lowest up."""
    taken = np.zeros(canvas, bool)
    kept: list[tuple[Layer, np.ndarray]] = []
    for layer in reversed(layers):
        whole = layer.inside < 0
        seen = whole & ~layer.at.of(taken)
        area = int(whole.sum())
        if area < 6 or seen.sum() < max(6, LEAST_VISIBLE * area):
            continue
        layer.at.of(taken)[...] |= whole
        kept.append((layer, seen))
    instances = np.zeros(canvas, np.int32)
    for number, (layer, seen) in enumerate(reversed(kept), start=1):
        layer.at.of(instances)[seen] = number
    return [layer for layer, _ in reversed(kept)], instances


def add_up(layers: list[Layer], canvas: tuple[int, int]) -> np.ndarray:
    """Return the optical density of the field; red cells add up, others cover what is below."""
    density = np.zeros((*canvas, 3), np.float32)
    for layer in layers:
        below = layer.at.of(density)
        hidden = np.float32(_OPACITY[layer.kind])
        below *= 1 - hidden * shapes.coverage(layer.inside, layer.at.scale, 1.5)[..., None]
        below += layer.density
    return density


def _truth(layers: list[Layer], instances: np.ndarray, label: str) -> tuple[PhantomCell, ...]:
    cells = []
    for number, layer in enumerate(layers, start=1):
        mine = layer.at.of(instances) == number
        x, y, w, h = cv2.boundingRect(mine.astype(np.uint8))
        part = (slice(y, y + h), slice(x, x + w))
        nucleus = None if layer.nucleus is None else (layer.nucleus < 0)[part] & mine[part]
        x0, y0 = layer.at.columns.start + x, layer.at.rows.start + y
        cells.append(
            PhantomCell(
                instance=number,
                kind=layer.kind,
                label=label if layer.is_target else None,
                box=(x0, y0, x0 + w, y0 + h),
                mask=mine[part],
                nucleus=nucleus,
            )
        )
    return tuple(cells)
