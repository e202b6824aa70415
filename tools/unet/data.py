"""Training samples: a piece of an image as another laboratory might have taken it, and its maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from naturalize.training import microscopes
from tools.unet.labels import (
    CYTOPLASM,
    IGNORE,
    NUCLEUS,
    PLATELET,
    RED,
    SLIDE,
    SOME_CELL,
    WHITE,
)

#: Side of a training sample, and a training image's pixels to one of its pixels.
SIDE, SHRINK = 192, 2.0

#: The grey level of the bare slide in what the network sees.
SLIDE_GREY = 225.0

#: The network's offsets are in this many pixels.
UNIT = 16.0

#: Classes of white cells.
WHITES = (CYTOPLASM, NUCLEUS, WHITE)

#: How many samples are shown as by another microscope, the least resolution of its camera, and the
#: width of a red cell in a sample's pixels (`training.microscopes` counts in widths of a picture
#: that one cell fills); how many have colour fringes, and their largest width in pixels.
_ELSEWHERE, _COARSEST, _RED_CELL = 0.4, 0.45, 37.0
_FRINGED, _FRINGE = 0.15, 1.2


@dataclass(frozen=True, eq=False)
class Example:
    """An image, RGB uint8 (H, W, 3), its classes and instances, uint8 (H, W), its slide's RGB.

    ``middles``: float32 (255, 2): x, y of the centre of the cell of each number, NaN where it is
    the middle of its pixels; without, it is so of all.
    """

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    background: tuple[float, float, float]
    middles: np.ndarray | None = None


def save_labels(file: Path, examples: list[Example], ids: list[str]) -> None:
    """Write examples and the ids of all images in them; each lies in the corner of its plane."""
    sizes = np.array([one.classes.shape for one in examples], int)
    side = (len(examples), *sizes.max(axis=0))
    planes = {
        "images": np.zeros((*side, 3), np.uint8),
        "classes": np.zeros(side, np.uint8),
        "instances": np.zeros(side, np.uint8),
    }
    for i, one in enumerate(examples):
        h, w = sizes[i]
        planes["images"][i, :h, :w] = one.image
        planes["classes"][i, :h, :w] = one.classes
        planes["instances"][i, :h, :w] = one.instances
    light = np.array([one.background for one in examples], np.float32)
    none = np.full((SOME_CELL, 2), np.nan, np.float32)
    middles = np.array([none if one.middles is None else one.middles for one in examples])
    np.savez(file, **planes, background=light, sizes=sizes, ids=np.array(ids), middles=middles)


def load_labels(file: Path) -> list[Example]:
    """Return the examples of a labels file."""
    with np.load(file, allow_pickle=False) as kept:
        images, classes, instances = kept["images"], kept["classes"], kept["instances"]
        light, sizes, middles = kept["background"], kept["sizes"], kept["middles"]
    return [
        Example(
            images[i, :h, :w], classes[i, :h, :w], instances[i, :h, :w], tuple(light[i]), middles[i]
        )
        for i, (h, w) in enumerate(sizes)
    ]


def sample(
    example: Example, others: list[Example], draw: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return a training sample by name.

    ``image`` float32 (3, S, S) on 0–1; ``classes`` int64 (S, S); ``centre``, ``thing`` and
    ``taught`` float32 (S, S); ``offset`` float32 (2, S, S).

    Half of the samples get further cells out of ``others``: crowds, touching white cells and
    overlapping red ones are rare in the images, and here their masks are exact.
    """
    if draw.random() < 0.5:
        example = crowded(example, others, draw)
    matrix = _placing(example.image.shape, draw)
    image = _picture(example.image, matrix)
    classes = _map(example.classes, matrix, IGNORE)
    instances = _map(example.instances, matrix, 0)
    if draw.random() < _ELSEWHERE:
        image = elsewhere(image, example.background, draw)
    else:
        image = _photographed(restained(image, example.background, draw), draw)
    if draw.random() < _FRINGED:
        image = _fringed(image, draw)
    middles = None if example.middles is None else example.middles @ matrix[:, :2].T + matrix[:, 2]
    centre, offset, thing = centres(classes, instances, middles)
    # a cell whose instance is not known says nothing of its centre
    unknown = instances == SOME_CELL
    return {
        "image": np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255,
        "classes": classes.astype(np.int64),
        "centre": centre,
        "offset": offset,
        "thing": thing,
        "taught": (~unknown & (classes != IGNORE)).astype(np.float32),
    }


def crowded(example: Example, others: list[Example], draw: np.random.Generator) -> Example:
    """Return the example with one to four cells of other examples set into it.

    A cell is carried over in optical density, so that it stands in the light of its new slide; red
    cells and platelets add their density to what they lie on, as overlapping cells do.
    """
    image, classes, instances = (
        plane.copy() for plane in (example.image, example.classes, example.instances)
    )
    light = np.asarray(example.background, np.float32)
    middles = None if example.middles is None else example.middles.copy()
    for _ in range(int(draw.integers(1, 5))):
        other = others[int(draw.integers(len(others)))]
        usable = (other.instances > 0) & (other.instances < SOME_CELL)
        numbers = np.unique(other.instances[usable])
        used = int(instances[instances < SOME_CELL].max(initial=0))
        if not len(numbers) or used > 240:
            continue
        whites = np.unique(other.instances[np.isin(other.classes, WHITES) & usable])
        wanted = whites if len(whites) and draw.random() < 0.6 else numbers
        mask = other.instances == wanted[int(draw.integers(len(wanted)))]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        here = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        mask, kinds = mask[here], other.classes[here]
        height, width = mask.shape
        if height < 8 or width < 8:
            continue
        if height >= image.shape[0] or width >= image.shape[1]:
            continue
        top, left = _place(classes, (height, width), kinds[mask].max() == RED, draw)
        there = np.s_[top : top + height, left : left + width]
        under = classes[there]
        through = kinds[mask].max() in (RED, PLATELET)
        if not through:  # a white cell is not set on the whole of another
            covered = np.isin(under, WHITES) & mask
            if np.count_nonzero(covered) > 0.25 * np.count_nonzero(mask):
                continue
        share = np.maximum(other.image[here].astype(np.float32), 1) / other.background
        below = image[there].astype(np.float32) if through else light
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
        new = soft * np.minimum(share * below, 255) + (1 - soft) * image[there]
        image[there] = np.clip(np.rint(new), 0, 255).astype(np.uint8)
        if through:  # below a white cell or over one: it keeps its kind
            mask = mask & ~np.isin(under, WHITES)
        both = mask & (under == RED) & through
        classes[there][mask] = kinds[mask]
        instances[there][mask] = used + 1
        if middles is not None:
            middles[used + 1] = np.nan
        instances[there][both] = 0
    return Example(image, classes, instances, example.background, middles)


def _place(
    classes: np.ndarray, size: tuple[int, int], on_red: bool, draw: np.random.Generator
) -> tuple[int, int]:
    """Return top and left of a cell of ``size``; many a red cell lies near or over another."""
    height, width = size
    rows, columns = np.nonzero(classes == RED) if on_red else ((), ())
    low, right = classes.shape[0] - height, classes.shape[1] - width
    if len(rows) and draw.random() < 0.7:
        i = int(draw.integers(len(rows)))
        top, left = rows[i] - draw.uniform(0, 1) * height, columns[i] - draw.uniform(0, 1) * width
        return int(np.clip(top, 0, low)), int(np.clip(left, 0, right))
    return int(draw.integers(0, low)), int(draw.integers(0, right))


def _placing(shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray:
    """Return the matrix from the image to the sample: turned, mirrored, scaled, shifted."""
    height, width = shape[:2]
    scale = np.exp(draw.uniform(np.log(0.55), np.log(1.8))) / SHRINK
    angle = np.deg2rad(draw.uniform(0, 360) if draw.random() < 0.5 else 90 * draw.integers(4))
    stretch = np.exp(draw.normal(0, 0.04))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([scale * stretch * draw.choice([-1, 1]), scale / stretch])
    room = np.maximum(np.array([width, height]) * scale - SIDE, 0.1 * SIDE) / 2
    goal = SIDE / 2 + draw.uniform(-1, 1, 2) * room
    return np.column_stack([turn, goal - turn @ (np.array([width, height]) / 2)])


def _picture(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the image in the sample's frame; past its edge it is mirrored, as in use."""
    shrink = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 1.2:  # a smaller camera averages; skipping pixels would be grain that is not there
        image = cv2.GaussianBlur(image, (0, 0), 0.35 * shrink)
    return cv2.warpAffine(
        image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _map(plane: np.ndarray, matrix: np.ndarray, outside: int) -> np.ndarray:
    """Return a map of labels in the sample's frame, ``outside`` past the image's edge."""
    return cv2.warpAffine(
        plane, matrix, (SIDE, SIDE), flags=cv2.INTER_NEAREST, borderValue=(float(outside),)
    )


def restained(
    image: np.ndarray, background: tuple[float, float, float], draw: np.random.Generator
) -> np.ndarray:
    """Return RGB float32 as another stain, light and camera would give it.

    In optical density against the slide: more or less stain, dyes mixed a little differently; on a
    grey slide, as :func:`naturalize.cells.segmenters.unet.network.balanced` gives it; then the
    camera's gamma.
    """
    density = -np.log10(np.maximum(image.astype(np.float32), 1) / np.maximum(background, 1))
    strong = draw.random() < 0.6
    wide = 0.10 if strong else 0.03
    mix = np.eye(3) + draw.normal(0, wide, (3, 3)) * (1 if strong else 0.5)
    gain = np.exp(draw.normal(0, 0.30 if strong else 0.1)) * np.exp(draw.normal(0, wide, 3))
    density = density @ (mix * gain).T.astype(np.float32)
    if strong and draw.random() < 0.5:  # dyes saturate, cameras compress: contrast within a cell
        power = np.float32(np.exp(draw.normal(0, 0.25)))
        density = np.sign(density) * np.abs(density) ** power * np.float32(0.4) ** (1 - power)
    # the slide is grey before the network sees it, as nearly as its colour can be measured
    light = np.clip(SLIDE_GREY * np.exp(draw.normal(0, 0.06) + draw.normal(0, 0.025, 3)), 150, 255)
    out = light.astype(np.float32) * np.float32(10) ** -density
    if draw.random() < 0.5:
        out = 255 * np.clip(out / 255, 0, 1) ** np.float32(np.exp(draw.normal(0, 0.2)))
    if draw.random() < 0.3:
        y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j].astype(np.float32)
        a, b, c = draw.normal(0, 0.06, 3)
        out = out * (1 + a * x + b * y - abs(c) * (x * x + y * y))[..., None]
    if draw.random() < 0.05:
        out = np.repeat(out.mean(axis=2, keepdims=True), 3, axis=2)
    return np.clip(out, 0, 255)


def elsewhere(
    image: np.ndarray, background: tuple[float, float, float], draw: np.random.Generator
) -> np.ndarray:
    """Return RGB uint8 as another microscope shows it, on a grey slide as the network sees it.

    The changes of :mod:`naturalize.training.microscopes` that leave the cells in their places:
    dyes, filters, tone, light, resolution, blur, sharpening, noise, JPEG.
    """
    drawn = microscopes.draw(draw)
    change = replace(
        drawn,
        linear=(1.0, 0.0, 0.0, 1.0),
        shift=(0.0, 0.0),
        cut=None,
        isolated=False,
        resolution=max(drawn.resolution, _COARSEST),
        blur=drawn.blur * _RED_CELL / SIDE,
    )
    light = np.maximum(np.asarray(background, np.float32), 1)
    grey = np.clip(np.rint(image.astype(np.float32) * (SLIDE_GREY / light)), 0, 255)
    return microscopes.apply(grey.astype(np.uint8), None, (SLIDE_GREY,) * 3, change)


def _fringed(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return RGB uint8 with red and blue off their places, as a simple lens leaves them."""
    out = image.copy()
    for channel in (0, 2):
        x, y = draw.uniform(-_FRINGE, _FRINGE, 2)
        out[..., channel] = cv2.warpAffine(
            np.ascontiguousarray(image[..., channel]),
            np.array([[1, 0, x], [0, 1, y]]),
            (SIDE, SIDE),
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return out


def _photographed(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return RGB uint8 after focus, noise and JPEG."""
    if draw.random() < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.3, 1.2))
    if draw.random() < 0.4:
        image = image * soil(draw)
    if draw.random() < 0.3:
        fine = image - cv2.GaussianBlur(image, (0, 0), draw.uniform(0.7, 3))
        image = image + draw.uniform(0.2, 1.6) * fine
    if draw.random() < 0.4:
        image = image + draw.normal(0, draw.uniform(1, 6), image.shape)
    out = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if draw.random() < 0.25:
        quality = int(draw.integers(40, 95))
        coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        out = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return out


def soil(draw: np.random.Generator) -> np.ndarray:
    """Return what dirt, dried plasma and uneven glass let through, float32 (S, S, 3) about 1.

    Noise of several coarsenesses, the same in all colours or nearly so: it has no cell in it.
    """
    out = np.zeros((SIDE, SIDE, 3), np.float32)
    for coarse in (2, 4, 8, 16, 32):
        side = SIDE // coarse
        strength = draw.exponential(0.018)
        grey = draw.normal(0, strength, (side, side, 1))
        tint = draw.normal(0, 0.3 * strength, (side, side, 3))
        plane = (grey + tint).astype(np.float32)
        out += cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(1 + out, 0.7, 1.2)


def centres(
    classes: np.ndarray, instances: np.ndarray, middles: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the centre map, the offsets to each pixel's own centre, and where these count.

    ``middles``: x, y of the centres that are known, as in :class:`Example`.
    """
    known = (instances > 0) & (instances < SOME_CELL)
    known &= (classes != IGNORE) & (classes != SLIDE)
    flat = instances[known]
    y, x = np.nonzero(known)
    n = np.bincount(flat, minlength=256).astype(np.float32)
    cy = np.bincount(flat, y, 256) / np.maximum(n, 1)
    cx = np.bincount(flat, x, 256) / np.maximum(n, 1)
    if middles is not None:
        told = np.flatnonzero(np.isfinite(middles[:, 0]))
        cx[told], cy[told] = middles[told].T
    offset = np.zeros((2, *classes.shape), np.float32)
    offset[0, y, x] = (cy[flat] - y) / UNIT
    offset[1, y, x] = (cx[flat] - x) / UNIT
    centre = np.zeros(classes.shape, np.float32)
    grid_y, grid_x = np.ogrid[: classes.shape[0], : classes.shape[1]]
    for number in np.flatnonzero(n > 6):
        wide = np.clip(0.10 * np.sqrt(4 / np.pi * n[number]), 1.2, 5.0)
        away = (grid_y - cy[number]) ** 2 + (grid_x - cx[number]) ** 2
        np.maximum(centre, np.exp(-away / (2 * wide**2)), out=centre)
    return centre, offset, known.astype(np.float32)


def weights() -> list[float]:
    """Return how much a pixel of each class counts: small things as much as large ones."""
    table = dict.fromkeys(range(6), 1.0)
    table |= dict.fromkeys(WHITES, 1.2) | {PLATELET: 4.0}
    return [table[k] for k in range(6)]
