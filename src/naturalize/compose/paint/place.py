"""A patch on its place: copied where no pixel has to change, else resampled once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from naturalize.base.rng import rng
from naturalize.compose.paint import constants as tuned
from naturalize.compose.paint.patch import Patch, halved
from naturalize.compose.paint.sizes import PAD
from naturalize.compose.recipe.recipe import Placement
from naturalize.imaging.jpeg.grid import dihedral
from naturalize.imaging.stain import dithered, rounded, stain_table

_FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@dataclass(slots=True, eq=False)
class Laid:
    """A cell as it lies on the canvas, cut to it."""

    #: Pixel of the canvas where the arrays begin.
    left: int
    top: int
    #: RGB uint8 (h, w, 3), and uint8 (h, w) as in a patch.
    colours: np.ndarray
    edge: np.ndarray
    #: RGB of the bare slide around the cell, as ``colours`` are.
    ground: tuple[float, float, float]
    #: Width of the soft edge in pixels of the canvas.
    feather: float
    #: Pixels of the canvas for a pixel of the distances in ``edge``.
    scale: float
    #: Whether the canvas is smaller than the recipe's.
    shrunk: bool = False

    @property
    def window(self) -> tuple[slice, slice]:
        """The part of the canvas under it."""
        height, width = self.edge.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def lay(
    patch: Patch, placement: Placement, canvas: tuple[int, int], *, shrunk: bool = False
) -> Laid | None:
    """Return a patch as a placement wants it on a canvas (height, width); ``None`` if outside.

    The placement is in pixels of this canvas. ``shrunk``: the picture is smaller than the recipe's
    canvas, so a cell that needs no other resampling is moved to whole pixels, by half a pixel at
    most, and no codec comes after.
    """
    if any(placement.stain) or placement.stain_scale != (1, 1, 1):
        table = stain_table(placement.stain, placement.stain_scale)
        levels, become = np.arange(256), rounded(table)
        red, green, blue = (
            float(np.interp(value, levels, become[0, :, c])) for c, value in enumerate(patch.ground)
        )
        colours = dithered(patch.colours, table) if shrunk else cv2.LUT(patch.colours, become)
        reach = patch.reach
        patch = replace(patch, colours=colours, ground=(red, green, blue))
        patch.__dict__["reach"] = reach  # a cached property, known already
    while placement.scale <= tuned.HALVED and not placement.elastic:
        patch, (across, down) = halved(patch)
        scale = placement.scale / math.sqrt(across * down)
        larger = {"scale": scale, "aspect": placement.aspect * down / across}
        placement = Placement.trusted({**vars(placement), **larger})
    found = _upright(patch, placement, shrunk) or _warped(patch, placement, canvas)
    if found is None:
        return None
    left, top, colours, edge = found
    height, width = edge.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, canvas[1]), min(top + height, canvas[0])
    if x0 >= x1 or y0 >= y1:
        return None
    if placement.blur:
        colours = cv2.GaussianBlur(colours, (0, 0), placement.blur, borderType=cv2.BORDER_REPLICATE)
    if x1 - x0 != width or y1 - y0 != height:
        seen = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        colours, edge = colours[seen], edge[seen]
    about = (patch.ground, placement.feather, placement.scale, shrunk)
    return Laid(x0, y0, colours, edge, *about)


#: Left, top, colours and edge of a cell on its way to the canvas.
_Found = tuple[int, int, np.ndarray, np.ndarray]


def _upright(patch: Patch, placement: Placement, shrunk: bool) -> _Found | None:
    """Return the cell where nothing needs resampling; else ``None``."""
    quarters = placement.angle / 90
    if placement.scale != 1 or placement.aspect != 1 or placement.elastic:
        return None
    if quarters != round(quarters):
        return None
    height, width = patch.edge.shape
    if round(quarters) % 2:
        height, width = width, height
    left, top = placement.cx - width / 2, placement.cy - height / 2
    x, y = round(left), round(top)
    if not (shrunk or (abs(left - x) <= tuned.EXACT and abs(top - y) <= tuned.EXACT)):
        return None
    colours, edge = patch.colours, patch.edge
    if placement.flip or quarters % 4:
        colours, edge = (
            dihedral(plane, placement.flip, round(quarters)) for plane in (colours, edge)
        )
    return x, y, colours, edge


def _warped(patch: Patch, placement: Placement, canvas: tuple[int, int]) -> _Found | None:
    """Return the cell after flip, scale, turn and shift, cut to the canvas."""
    a, b, c, d = _turn(placement)
    height, width = patch.edge.shape
    # the corners of a patch are empty: what may be seen lies within its reach
    longest = placement.scale * math.sqrt(max(placement.aspect, 1 / placement.aspect))
    grown = tuned.MOST_ELASTIC * placement.elastic * longest
    reach = patch.reach * longest + grown
    half_x = min(reach, (abs(a) * width + abs(b) * height) / 2 + grown)
    half_y = min(reach, (abs(c) * width + abs(d) * height) / 2 + grown)
    left = max(math.floor(placement.cx - half_x), 0)
    top = max(math.floor(placement.cy - half_y), 0)
    right = min(math.ceil(placement.cx + half_x), canvas[1])
    bottom = min(math.ceil(placement.cy + half_y), canvas[0])
    if left >= right or top >= bottom:
        return None
    # pixel i has its centre at i + 1/2
    u, v = (width - 1) / 2, (height - 1) / 2
    x, y = placement.cx - left - 0.5, placement.cy - top - 0.5
    matrix = np.array([[a, b, x - a * u - b * v], [c, d, y - c * u - d * v]])
    colours, edge = _resampled(patch, matrix, (right - left, bottom - top), placement)
    return left, top, colours, edge


def _turn(placement: Placement) -> tuple[float, float, float, float]:
    """Return the linear part of a placement, row by row: x, y of the patch → of the canvas."""
    angle = math.radians(placement.angle)
    cos, sin = placement.scale * math.cos(angle), placement.scale * math.sin(angle)
    wide = math.sqrt(placement.aspect)
    across, down = -wide if placement.flip else wide, 1 / wide
    # y points down, so counter-clockwise to the eye is this one
    return cos * across, sin * down, -sin * across, cos * down


def _resampled(
    patch: Patch, matrix: np.ndarray, size: tuple[int, int], placement: Placement
) -> tuple[np.ndarray, np.ndarray]:
    """Return colours and edge, resampled together, so that each pixel is looked up once."""
    planes = cv2.merge((patch.colours, patch.edge))
    flags = _FLAGS[placement.kernel]
    # past a patch's rim comes black; bilinear, that is never seen, and quicker than the rim again
    plain = placement.kernel == "linear" and not placement.blur
    border = cv2.BORDER_CONSTANT if plain else cv2.BORDER_REPLICATE
    if placement.elastic:
        x, y = cv2.split(_bent(matrix, size, _field(patch, placement)))

        def look_up(plane: np.ndarray, how: int) -> np.ndarray:
            return cv2.remap(plane, x, y, how, borderMode=border)

    else:

        def look_up(plane: np.ndarray, how: int) -> np.ndarray:
            return cv2.warpAffine(plane, matrix, size, flags=how, borderMode=border)

    found = look_up(planes, flags)
    colours = cv2.cvtColor(found, cv2.COLOR_RGBA2RGB)
    if placement.grain:
        fine = _fine(patch.colours)
        lost = look_up(fine, cv2.INTER_NEAREST) - look_up(fine, flags)
        grained = colours + np.float32(placement.grain) * lost
        colours = np.clip(np.rint(grained), 0, 255).astype(np.uint8)
    return colours, cv2.extractChannel(found, 3)


def _fine(colours: np.ndarray) -> np.ndarray:
    """Return the grain of RGB uint8 (h, w, 3), float32 of that shape, around 0."""
    sharp = colours.astype(np.float32)
    smooth = cv2.GaussianBlur(sharp, (0, 0), tuned.GRAIN_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return np.clip(sharp - smooth, -tuned.GRAIN_MOST, tuned.GRAIN_MOST)


def _bent(matrix: np.ndarray, size: tuple[int, int], field: np.ndarray) -> np.ndarray:
    """Return where each pixel of a window looks, float32 (h, w, 2): the inverse map, displaced."""
    back = cv2.invertAffineTransform(matrix)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    maps = np.stack([x, y], axis=2) @ back[:, :2].T + back[:, 2]
    moved = cv2.warpAffine(field, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return (maps - moved).astype(np.float32)


def _field(patch: Patch, placement: Placement) -> np.ndarray:
    """Return how the pixels of a patch are displaced: as large for a cell in all styles."""
    more = patch.pad - PAD
    height, width = (side - 2 * more for side in patch.edge.shape)
    field = displacement((height, width), placement.elastic, placement.elastic_seed)
    return np.pad(field, ((more, more), (more, more), (0, 0)), mode="edge") if more else field


def displacement(shape: tuple[int, int], amplitude: float, seed: int) -> np.ndarray:
    """Return a smooth random displacement of each pixel, float32 (h, w, 2), x before y, in pixels.

    Random shifts at 5 × 5 knots, interpolated by cubic polynomials (after Simard, Steinkraus &
    Platt, Best practices for convolutional neural networks, ICDAR 2003, with knots for their
    Gaussian). Its mean is 0, so that the cell keeps its place, its root mean square length
    ``amplitude``, or less where a small cell would be folded. It depends on the size only by
    sampling: at half the size it is the same field.
    """
    knots = rng(seed, "elastic").standard_normal((tuned.KNOTS, tuned.KNOTS, 2)).astype(np.float32)
    height, width = shape
    field = cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    field -= field.mean(axis=(0, 1))
    length = np.sqrt((field**2).sum(axis=2))
    mean, most = float(np.sqrt((length**2).mean())), float(length.max()) / tuned.MOST_ELASTIC
    steepest = max(float(np.abs(np.diff(field, axis=axis)).max(initial=0)) for axis in (0, 1))
    return field * np.float32(
        min(amplitude / max(mean, most), tuned.STEEPEST / max(steepest, 1e-9))
    )
