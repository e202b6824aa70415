"""A picture of predictions: what came in, what the network was shown, and what it said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naturalize.base.images import read_image
from naturalize.base.sheets import labelled_rows
from naturalize.models.preprocess import View, resize
from naturalize.prediction.files import Prediction
from naturalize.prediction.standardise import Standardiser

#: Pairs on a sheet and in a column of it, the side of each picture, and letters of a name shown.
_MOST, _ROWS, _TILE, _NAME = 36, 9, 110, 24


def doubtful_first(rows: Sequence[Prediction], n: int = _MOST) -> list[Prediction]:
    """Return the ``n`` predictions that a person should look at: the least confident, in order."""
    there = [row for row in rows if row.confidence is not None]
    return sorted(there, key=lambda row: (row.confidence or 0.0, row.path.as_posix()))[:n]


def prediction_sheet(
    rows: Sequence[Prediction], standardiser: Standardiser, view: View
) -> np.ndarray:
    """Lay out the most doubtful predictions, each image beside what the network was shown.

    Parameters
    ----------
    rows
        Predictions; those with an error are left out.
    standardiser
        What brought the images to the model's standard.
    view
        What the network sees of an image.

    Returns
    -------
    numpy.ndarray
        RGB uint8 (H, W, 3).
    """
    pairs: dict[str, list[np.ndarray]] = {}
    for row in doubtful_first(rows):
        image = read_image(row.path)
        shown = view.prepare(standardiser(image).image)
        caption = f"{row.label} {row.confidence:.2f}  {row.path.name[-_NAME:]}"
        while caption in pairs:  # two files may have the same words; a row needs its own
            caption += " "
        pairs[caption] = [_square(image, _TILE), resize(shown, _TILE)]
    return _in_columns(pairs, "image, and what the network saw")


def _in_columns(rows: dict[str, list[np.ndarray]], title: str) -> np.ndarray:
    columns = -(-len(rows) // _ROWS) or 1
    height = -(-len(rows) // columns)
    parts = [dict(list(rows.items())[i * height : (i + 1) * height]) for i in range(columns)]
    sheets = [
        labelled_rows(part, tile=_TILE, title=title if i == 0 else " ")
        for i, part in enumerate(parts)
        if part or i == 0
    ]
    tallest = max(len(sheet) for sheet in sheets)
    white = [((0, tallest - len(sheet)), (0, 0), (0, 0)) for sheet in sheets]
    padded = (np.pad(s, w, constant_values=255) for s, w in zip(sheets, white, strict=True))
    return np.hstack(list(padded))


def _square(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle square of an image in ``side`` × ``side`` pixels."""
    return View(side, crop=0.999).prepare(image)
