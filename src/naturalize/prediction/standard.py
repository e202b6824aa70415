"""What training images look like: the standard that images from elsewhere are brought to."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.errors import InputError
from naturalize.base.rng import rng
from naturalize.imaging.slide import slide_colour
from naturalize.models.config import Colour, Standard
from naturalize.prediction.domain import measures, typical
from naturalize.prediction.profile import ROUND, colour, disc, median_colour, stain_in

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.dataset.catalog import Catalog

#: Cells that a standard is measured by, at most, and images a class whose measures are taken.
_SAMPLE, _A_CLASS = 200, 100

#: The share of training images whose slides are left out of the usual range, and what is added to
#: the range at either end, in levels.
_ODD, _SLACK = 0.01, 6.0


def measure_standard(catalog: Catalog, bank: CellBank, *, alone: bool, seed: int = 0) -> Standard:
    """Return the standard of the images that a bank's cells come from.

    The catalog says how large images are; of the bank a sample of 200 images is measured, and of
    100 a class for the range of measures. ``alone``: whether the network also learns cells that lie
    alone. ``InputError`` if the bank has no whole red cell or no white cell with a nucleus.
    """
    whites = bank.cells(kind="wbc", target=True, accepted=None)
    reds = bank.cells(kind="rbc", whole=True)
    solid = reds["solidity"].to_numpy(zero_copy_only=False)
    round_ones = reds["area"].to_numpy()[np.isnan(solid) | (solid >= ROUND)]
    if not len(round_ones) or not whites.num_rows:
        raise InputError("the bank has no whole red cell, or no white cell, to measure")
    places = rng(seed, "standard").permutation(whites.num_rows)[:_SAMPLE]
    rows = whites.take(places).to_pylist()
    images = [bank.image(row["image_id"]) for row in rows]
    stains = [
        stain
        for row, image in zip(rows, images, strict=True)
        if (stain := _stain_of(row, image)) is not None
    ]
    if not stains:
        raise InputError("no white cell of the bank has a nucleus to measure")
    slides = np.array([slide_colour(image) for image in images])
    found, labels = _measured(bank, seed)
    low, high = np.quantile(slides, (_ODD, 1 - _ODD), axis=0)
    sizes = catalog.usable().select(["height", "width"]).to_pydict()
    return Standard(
        height=int(np.median(sizes["height"])),
        width=int(np.median(sizes["width"])),
        slide=colour(np.median(slides, axis=0)),
        slide_low=colour(low - _SLACK),
        slide_high=colour(high + _SLACK),
        red_cell=disc(float(np.median(round_ones))),
        white_cell=disc(float(np.median(whites["area"].to_numpy()))),
        nucleus_stain=median_colour(stains),
        red_stain=median_colour(np.stack([reds[f"od_{c}"].to_numpy() for c in "rgb"], axis=1)),
        alone=alone,
        focus=float(np.median(whites["focus"].to_numpy())),
        kinds=_kinds(bank),
        typical=typical(found, labels),
    )


def _measured(bank: CellBank, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return the measures (N, 12) of up to 100 images of each class, and their classes."""
    of_class: dict[str, set[str]] = defaultdict(set)
    table = bank.cells(target=True, accepted=None)
    for label, name in zip(table["label"].to_pylist(), table["image_id"].to_pylist(), strict=True):
        of_class[label].add(name)
    found, labels = [], []
    for label, names in sorted(of_class.items()):
        for place in rng(seed, "typical", label).permutation(len(names))[:_A_CLASS]:
            image = bank.image(sorted(names)[place])
            found.append(measures(image, slide_colour(image)))
            labels.append(label)
    return np.array(found), labels


def _kinds(bank: CellBank) -> dict[str, str]:
    """Return for each class the kind that most of its target cells are."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    table = bank.cells(target=True, accepted=None)
    for label, kind in zip(table["label"].to_pylist(), table["kind"].to_pylist(), strict=True):
        found[label][kind] += 1
    return {label: kinds.most_common(1)[0][0] for label, kinds in sorted(found.items())}


def _stain_of(row: dict[str, Any], image: np.ndarray) -> Colour | None:
    from naturalize.imaging.runlength import decode

    if not row["nucleus"]:
        return None
    box = x0, y0, x1, y1 = row["x0"], row["y0"], row["x1"], row["y1"]
    nucleus = decode(np.asarray(row["nucleus"], np.uint32), (y1 - y0, x1 - x0))
    return stain_in(image, box, nucleus, slide_colour(image))
