"""How a laboratory takes its images: the size of its cells and the strength of its stains."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.artifacts import read_json, write_json
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import content_hash
from naturalize.base.rng import rng
from naturalize.cells.segmentation import Cell, Segmentation
from naturalize.imaging.shape import solidity
from naturalize.imaging.slide import slide_colour
from naturalize.imaging.stain import mean_density
from naturalize.models.config import Colour, Standard
from naturalize.prediction.domain import measures, typical

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.dataset.catalog import Catalog

#: Cells that a standard is measured by, at most, and images a class whose measures are taken.
_SAMPLE, _A_CLASS = 200, 100

#: A whole red cell is rounder than this; a part of one, or two in one, is not.
_ROUND = 0.92

#: The share of training images whose slides are left out of the usual range, and what is added to
#: the range at either end, in levels.
_ODD, _SLACK = 0.01, 6.0

#: Whole red cells an image below which their median diameter says little: where they hardly fit
#: into the images, only small ones are whole.
_ENOUGH = 2.0

#: What a profile's file says it is.
_KIND, _VERSION = "naturalize laboratory profile", 1


@dataclass(frozen=True)
class Profile:
    """How a set of images was taken, as far as it could be measured."""

    #: Median diameter in pixels of whole red cells and of white cells; null if too few were seen.
    red_cell: float | None
    white_cell: float | None
    #: Median optical density (red, green, blue) of nuclei and of red cells; null if none was seen.
    nucleus_stain: Colour | None
    red_stain: Colour | None
    #: How much images are sharpened to be like the standard's; null: each as it needs.
    sharpening: float | None = None
    images: int = 0  # how many were measured
    name: str = ""  # of the laboratory, or of what was measured

    @classmethod
    def of(cls, seen: Iterable[tuple[np.ndarray, Segmentation]], name: str = "") -> Profile:
        """Measure images (RGB uint8 (H, W, 3)) and the cells that were found in them."""
        reds: list[float] = []
        whites: list[float] = []
        nuclei: list[Colour] = []
        red_stains: list[Colour] = []
        images = 0
        for image, found in seen:
            images += 1
            reds += [diameter(cell) for cell in found.cells if _whole_red(cell, image.shape)]
            cells = found.of("wbc")
            whites += [diameter(cell) for cell in cells if not cell.touches(found.shape)]
            slide = found.background
            inside = [_stain(image, cell.box, cell.nucleus, slide) for cell in cells]
            nuclei += [stain for stain in inside if stain]
            whole = [_stain(image, cell.box, cell.mask, slide) for cell in found.of("rbc")]
            red_stains += [stain for stain in whole if stain]
        return cls(
            red_cell=float(np.median(reds)) if len(reds) >= max(1, _ENOUGH * images) else None,
            white_cell=float(np.median(whites)) if whites else None,
            nucleus_stain=_median(nuclei) if nuclei else None,
            red_stain=_median(red_stains) if red_stains else None,
            images=images,
            name=name,
        )

    def save(self, path: Path, standard: Standard) -> None:
        """Write a JSON file; it serves models of this standard."""
        about = {"kind": _KIND, "format_version": _VERSION, "standard": _digest(standard)}
        write_json(path, {**about, **asdict(self)})

    @classmethod
    def load(cls, path: Path, standard: Standard) -> Profile:
        """Read what :meth:`save` wrote.

        ``ArtifactError`` if it is no profile, or was measured for a model of another standard.
        """
        from pydantic import TypeAdapter, ValidationError

        raw = read_json(path)
        if not isinstance(raw, dict) or raw.pop("kind", None) != _KIND:
            raise ArtifactError(
                f"{path}: is no laboratory profile; measure one with: naturalize predict IMAGES "
                f"--save-profile {path}"
            )
        if (version := raw.pop("format_version", None)) != _VERSION:
            raise ArtifactError(f"{path}: is of format {version}; this version reads {_VERSION}")
        if raw.pop("standard", None) != _digest(standard):
            raise ArtifactError(
                f"{path}: was measured for a model with another standard; measure it again with "
                "--save-profile and this model"
            )
        try:
            return TypeAdapter(cls).validate_python(raw)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise ArtifactError(f"{path}: damaged laboratory profile (at {where})") from error


def _digest(standard: Standard) -> str:
    """Name what a profile depends on in a standard: not the range of measures."""
    facts = {key: value for key, value in asdict(standard).items() if key != "typical"}
    return content_hash(repr(sorted(facts.items())).encode())


def diameter(cell: Cell) -> float:
    """Return the diameter in pixels of a disc of the cell's area."""
    return _disc(cell.area)


def _stain(
    image: np.ndarray, box: tuple[int, int, int, int], mask: np.ndarray | None, slide: Colour
) -> Colour | None:
    """Return the mean optical density of what a mask shows in its box, or null if it is nothing."""
    if mask is None or not mask.any():
        return None
    x0, y0, x1, y1 = box
    return mean_density(image[y0:y1, x0:x1], mask, slide)


def measure_standard(catalog: Catalog, bank: CellBank, *, alone: bool, seed: int = 0) -> Standard:
    """Return the standard of the images that a bank's cells come from.

    The catalog says how large images are; of the bank a sample of 200 images is measured, and of
    100 a class for the range of measures. ``alone``: whether the network also learns cells that lie
    alone. ``InputError`` if the bank has no whole red cell or no white cell with a nucleus.
    """
    whites = bank.cells(kind="wbc", target=True, accepted=None)
    reds = bank.cells(kind="rbc", whole=True)
    solid = reds["solidity"].to_numpy(zero_copy_only=False)
    round_ones = reds["area"].to_numpy()[np.isnan(solid) | (solid >= _ROUND)]
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
        slide=_colour(np.median(slides, axis=0)),
        slide_low=_colour(low - _SLACK),
        slide_high=_colour(high + _SLACK),
        red_cell=_disc(float(np.median(round_ones))),
        white_cell=_disc(float(np.median(whites["area"].to_numpy()))),
        nucleus_stain=_median(stains),
        red_stain=_median(np.stack([reds[f"od_{c}"].to_numpy() for c in "rgb"], axis=1)),
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
    return _stain(image, box, nucleus, slide_colour(image))


def sample(paths: Sequence[object], n: int) -> list[int]:
    """Return at most ``n`` places, evenly spaced over a list."""
    if len(paths) <= n:
        return list(range(len(paths)))
    return np.unique(np.linspace(0, len(paths) - 1, n).round().astype(int)).tolist()


def _whole_red(cell: Cell, shape: tuple[int, ...]) -> bool:
    if cell.kind != "rbc" or cell.touches(shape):
        return False
    x0, y0, x1, y1 = cell.box
    oblong = max(x1 - x0, y1 - y0) > 1.3 * min(x1 - x0, y1 - y0)
    return not oblong and solidity(cell.mask) >= _ROUND


def _disc(area: float) -> float:
    return 2 * math.sqrt(area / math.pi)


def _median(stains: Sequence[Colour] | np.ndarray) -> Colour:
    return _colour(np.median(np.asarray(stains), axis=0))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue
