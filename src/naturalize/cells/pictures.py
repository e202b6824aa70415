"""Pictures of cells: outlines over images, and sheets of the cells of a bank on white."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.display import rows_of
from naturalize.base.plots import KIND_COLOURS, KIND_KEY
from naturalize.base.rng import rng
from naturalize.base.sheets import contact_sheet, fit, labelled_rows
from naturalize.cells.bank.files import Cutout
from naturalize.cells.segmentation import KINDS, Cell, Segmentation

#: Sub-pixel positions of OpenCV's lines: 4 binary digits.
_SHIFT = 4

#: Pictures on a sheet of overlays, and their side in pixels.
SHEET, _TILE = 24, 256

#: Names of the kinds in the rows of cells without a label, and in rows of rejected ones.
_OTHERS = {"wbc": "white cells", "rbc": "red cells", "platelet": "platelets"}
_ONE = {"wbc": "white", "rbc": "red", "platelet": "platelet"}

#: What is around a rejected cell is shown this much nearer to white, and this far (by eye).
_VEIL, AROUND = 0.55, 10

#: Gives the pixels of a cell by its id, with a margin (``CellBank.cutout``).
CutoutOf = Callable[..., Cutout]


def overlay(image: np.ndarray, segmentation: Segmentation) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) with the outlines of cells and nuclei in the colours of kinds.

    Lines lie on the cells' rims and grow with the image, so that they are still seen when a whole
    field is shown on a screen.
    """
    drawn = image.copy()
    draw_outlines(drawn, segmentation)
    return drawn


def draw_outlines(image: np.ndarray, segmentation: Segmentation, *, nuclei: bool = True) -> None:
    """Draw the outlines of :func:`overlay` into the image itself, writable RGB uint8 (H, W, 3)."""
    side = max(image.shape[:2])
    fine = max(1, round(side / 1400))
    bold = fine + (side >= 240)
    for kind in ("rbc", "platelet", "wbc"):
        width = fine if kind == "rbc" else bold
        for cell in segmentation.of(kind):
            if nuclei and cell.nucleus is not None:
                _outline(image, cell, cell.nucleus, KIND_COLOURS["nucleus"], bold)
            _outline(image, cell, cell.mask, KIND_COLOURS[kind], width)


def _outline(
    image: np.ndarray, cell: Cell, mask: np.ndarray, colour: tuple[int, int, int], width: int
) -> None:
    """Draw the rim of a mask, smoothed by a pixel so that it is no staircase."""
    pad = 2
    smooth = cv2.GaussianBlur(np.pad(mask, pad).astype(np.float32), (0, 0), 0.9)
    found, _ = cv2.findContours(
        (smooth > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    offset = np.array([cell.box[0] - pad, cell.box[1] - pad])
    for contour in found:
        points = _smooth(contour[:, 0].astype(np.float32)) + offset
        fixed = np.rint(points * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(image, [fixed[:, None]], True, colour, width, cv2.LINE_AA, _SHIFT)


def _smooth(points: np.ndarray) -> np.ndarray:
    """Return a closed outline (n, 2), each point the mean of five neighbours."""
    if len(points) < 8:
        return points
    wrapped = np.concatenate([points[-2:], points, points[:2]])
    return np.stack([wrapped[k : k + len(points)] for k in range(5)]).mean(axis=0)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return RGB uint8 (H, W, 3) as small as a sheet shows it."""
    return np.asarray(fit(image, _TILE))


def overlay_sheet(
    pictures: Sequence[np.ndarray], captions: Sequence[str], *, title: str
) -> np.ndarray:
    """Return thumbnails of overlays side by side, with captions and a key of the colours."""
    if len(pictures) >= 3:  # else there is no room for more than the title
        title += f": {KIND_KEY}"
    return contact_sheet(pictures, captions=captions, tile=_TILE, title=title)


def bank_sheets(
    table: pa.Table, labels: Sequence[str], cutout: CutoutOf
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield file name and picture of the sheets of a bank: its accepted and its rejected cells."""
    for name, done, around in (("sheet.jpg", "accepted", 0), ("rejected.jpg", "rejected", AROUND)):
        cells = table.filter(pc.equal(table["accepted"], done == "accepted"))
        if cells.num_rows or done == "accepted":
            title = f"{cells.num_rows:,} cells of {table.num_rows:,} {done}"
            yield name, cells_sheet(grouped(cells, labels), cutout, title, around=around)


def grouped(table: pa.Table, labels: Sequence[str]) -> dict[str, pa.Table]:
    """Return rows of a bank by what a person would call them, none of the groups empty.

    Accepted cells by class and kind, in the order of ``labels``, then those without a label;
    rejected ones by kind and reason, target cells first, then the most frequent first.
    """
    keys = list(rows_of(table, "kind", "label", "target", "accepted", "reason"))
    accepted = Counter(_name(key) for key in keys if key[3])
    place = {name: i for i, name in enumerate([*labels, *_OTHERS.values()])}
    order = sorted(accepted, key=lambda name: (place.get(name, len(place)), name))
    rejected = Counter((KINDS.index(key[0]), _name(key), key[2]) for key in keys if not key[3])
    order += [
        name
        for (_, name, _), _ in sorted(
            rejected.items(), key=lambda item: (not item[0][2], item[0][0], -item[1], item[0][1])
        )
    ]
    rows = defaultdict[str, list[int]](list)
    for i, key in enumerate(keys):
        rows[_name(key)].append(i)
    return {name: table.take(pa.array(rows[name], pa.int64())) for name in order}


def _name(key: tuple[str, str | None, bool, bool, str | None]) -> str:
    """Return what a cell's row in a sheet is called."""
    kind, label, target, accepted, reason = key
    if accepted:
        return label if target and label is not None else _OTHERS[kind]
    return f"{'target ' if target else ''}{_ONE[kind]}: {reason}"


def cells_sheet(
    groups: dict[str, pa.Table],
    cutout: CutoutOf,
    title: str,
    *,
    columns: int = 12,
    around: int = 0,
) -> np.ndarray:
    """Return rows of cells, the name of a group and its number of cells at the left.

    ``groups``: name → rows of a bank's table, at least one each, of which up to ``columns`` are
    drawn at random, the same for the same bank; all cells of a row are at one scale. ``around``:
    pixels around a cell that are shown as well, paler, with the cell's outline.
    """
    rows = {}
    for name, table in groups.items():
        ids = sorted(table["cell_id"].to_pylist())
        drawn = rng(0, "bank sheet", name).permutation(len(ids))[:columns]
        shown = [_shown(cutout, ids[i], around) for i in sorted(drawn)]
        rows[f"{name} ({len(ids):,})"] = _one_scale(shown)
    return labelled_rows(rows, tile=96, title=title)


def cell_picture(cutout: CutoutOf, cell_id: str, *, side: int = 384) -> np.ndarray:
    """Return a cell three times, RGB uint8: as it lies in its image, outlined, and cut out."""
    plain = cutout(cell_id, margin=AROUND).rgb
    tiles = [plain, _shown(cutout, cell_id, AROUND), _shown(cutout, cell_id, 0)]
    return contact_sheet(_one_scale(tiles), columns=3, tile=side, title=cell_id)


def _shown(cutout: CutoutOf, cell_id: str, around: int) -> np.ndarray:
    """Return the cell on white; with ``around``, what surrounds it pale and its outline drawn."""
    cut = cutout(cell_id, margin=around)
    if not around:
        return np.where(cut.mask[..., None], cut.rgb, np.uint8(255))
    pale = (cut.rgb + (255.0 - cut.rgb) * _VEIL).astype(np.uint8)
    shown = np.where(cut.mask[..., None], cut.rgb, pale)
    outline, _ = cv2.findContours(
        cut.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    return cv2.drawContours(np.ascontiguousarray(shown), outline, -1, (31, 36, 48), 1)


def _one_scale(tiles: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pictures padded to one square size with white."""
    side = max(max(tile.shape[:2]) for tile in tiles) + 4
    out = []
    for tile in tiles:
        top, left = (side - tile.shape[0]) // 2, (side - tile.shape[1]) // 2
        canvas = np.full((side, side, 3), 255, np.uint8)
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        out.append(canvas)
    return out
