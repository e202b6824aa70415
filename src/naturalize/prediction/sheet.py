"""A picture of predictions by class: the cells, and what the network was shown of foreign ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.base.errors import ImageReadError
from naturalize.base.images import read_image
from naturalize.base.sheets import contact_sheet
from naturalize.models.preprocess import View, resize
from naturalize.prediction.files import Prediction
from naturalize.prediction.standardise import Standardiser
from naturalize.prediction.table import differential

#: Cells of a class on a sheet, tiles in a row, the side of a tile in pixels, and letters of a name
#: and of a caption that are shown.
_OF_CLASS, _COLUMNS, _TILE, _LETTERS, _CAPTION = 12, 6, 200, 22, 34

#: How much of an image is shown, in shares of its shorter side.
_SHOWN = 0.8

#: What is kept around a cell of a field, in shares of its width.
_AROUND = 0.4


def doubtful_first(rows: Sequence[Prediction], n: int) -> list[Prediction]:
    """Return the ``n`` rows that a person should look at first: flagged, then least confident."""
    return sorted(
        rows, key=lambda row: (not row.flags, row.confidence or 0.0, row.path.as_posix())
    )[:n]


def prediction_sheet(
    rows: Sequence[Prediction], classes: Sequence[str], standardiser: Standardiser, view: View
) -> np.ndarray:
    """Lay out predictions by class, the most doubtful of each; RGB uint8 (H, W, 3).

    An image that was standardised stands beside what the network saw of it. Those that cannot be
    read are left out. ``classes`` are the model's, in order; ``standardiser`` brought the images to
    its standard, and ``view`` is what it sees of one.
    """
    blocks = []
    for count in differential(classes, rows):
        found = [row for row in rows if row.label == count.code and row.error is None]
        if not found:
            continue
        tiles: list[np.ndarray] = []
        captions: list[str] = []
        for row in doubtful_first(found, _OF_CLASS):
            for tile, caption in _tiles(row, standardiser, view):
                tiles.append(tile)
                captions.append(caption[:_CAPTION])
        share = "" if count.share is None else f", {100 * count.share:.1f} %"
        shown = "" if len(found) <= _OF_CLASS else f"; the {_OF_CLASS} most doubtful"
        title = f"{count.code} {count.name}".rstrip() + f": {count.n}{share}{shown}"
        blocks.append(
            contact_sheet(tiles, captions=captions, columns=_COLUMNS, tile=_TILE, title=title)
        )
    if not blocks:
        return contact_sheet([], title="no image could be read")
    return np.concatenate(blocks)


def _tiles(row: Prediction, standardiser: Standardiser, view: View) -> list[tuple[np.ndarray, str]]:
    try:
        image = read_image(row.path)
    except ImageReadError:  # it was there when it was predicted
        return []
    name = row.path.name[-_LETTERS:]
    sure = "" if row.confidence is None else f"{row.confidence:.2f}"
    if row.box is not None:
        return [(_around(image, row.box), f"{sure} {name} cell {row.number}")]
    remarks = [flag for flag in row.flags if flag != "standardised"]
    tiles = [(_middle(image), f"{sure} {name} {remarks[0] if remarks else ''}".strip())]
    if "standardised" in row.flags and row.probabilities is not None:
        tiles.append(
            (resize(view.prepare(standardiser(image).image), _TILE), "as the network saw it")
        )
    return tiles


def _around(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    half = round((0.5 + _AROUND) * max(x1 - x0, y1 - y0))
    x, y = (x0 + x1) // 2, (y0 + y1) // 2
    return image[max(0, y - half) : y + half, max(0, x - half) : x + half]


def _middle(image: np.ndarray) -> np.ndarray:
    """Return the middle of an image, as much as networks are shown of it or more."""
    return View(_TILE, crop=_SHOWN).prepare(image)
