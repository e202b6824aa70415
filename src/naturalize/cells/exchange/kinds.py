"""What kind of cell a name or a mask stands for: white, red or platelet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from naturalize.base.errors import UnusableError, unknown
from naturalize.cells.choose import PLATELET_LABELS
from naturalize.cells.segmentation import KINDS
from naturalize.cells.segmenters.classical.view import azure, slide
from naturalize.dataset.schemes import SCHEMES
from naturalize.imaging.stain import optical_density

#: Which kind each name in a file is: one for all, or name → kind, where ``"*"`` stands for all
#: others. A kind may be ``"auto"``: distinguished by size and stain.
Kinds = str | Mapping[str, str] | None

#: Kinds are distinguished by size and stain.
AUTO = "auto"

#: Names of a kind that are no class; singular, lower case, letters only.
_NAMES = {
    "wbc": ("wbc", "whitebloodcell", "whitecell", "leukocyte", "leucocyte", "nucleated"),
    "rbc": ("rbc", "redbloodcell", "redcell", "erythrocyte"),
    "platelet": ("platelet", "thrombocyte"),
}

#: Names of classes of nucleated cells beside those of the label schemes, likewise.
_WHITE = frozenset(
    {
        "neutrophil", "band", "segmented", "granulocyte", "immaturegranulocyte", "blast",
        "myeloblast", "lymphoblast", "monoblast", "proerythroblast", "normoblast", "plasmacell",
        "atypicallymphocyte", "prolymphocyte", "promonocyte", "hairycell", "smudgecell",
    }
)  # fmt: skip

#: Names of neither a kind nor a class.
_ANYTHING = frozenset({"", "cell", "bloodcell", "object", "instance", "unknown", "other"})

#: Mean density of nuclear stain from which a cell has any: red cells have 0.1 at most, platelets
#: 0.14 and white cells 0.29 at least (classical cells of 55 PBC images).
_STAINED = 0.12

#: Stained cells smaller than this many red cells are platelets: white ones have 1.4 at least.
_SMALL = 1.2


def kind_named(name: str, parent: str | None = None) -> tuple[str | None, bool]:
    """Return the kind that a name stands for, and whether it is a class rather than a kind.

    ``name``: of a category, a folder or a table's cell, in any case, one or many. ``parent``: a
    name of what it belongs to (COCO's ``supercategory``); it decides if it is a kind.

    Examples
    --------
    >>> kind_named("Red cells"), kind_named("SNE"), kind_named("blob"), kind_named("blob", "rbc")
    (('rbc', False), ('wbc', True), (None, True), ('rbc', True))
    """
    of_name, of_parent = _plain_kind(name), _plain_kind(parent or "")
    if of_name is not None:
        return of_parent or of_name, False
    if of_parent is not None:
        return of_parent, _plain(name) not in _ANYTHING
    if name.lower() in PLATELET_LABELS:
        return "platelet", True
    plain = _plain(name)
    if plain in _ANYTHING:
        return None, False
    return ("wbc" if plain in _WHITE or plain in _class_names() else None), True


def given_kinds(kinds: Kinds) -> tuple[dict[str, str], str | None]:
    """Return name (lower case) → kind, and the kind of all other names, as the user gave them.

    Raises ``SettingsError`` for a kind that there is not.
    """
    choices = [*KINDS, AUTO]
    for kind in [kinds] if isinstance(kinds, str) else (kinds or {}).values():
        if kind not in choices:
            raise unknown("kind of cell", kind, choices)
    if isinstance(kinds, str):
        return {}, kinds
    by_name = {name.strip().lower(): kind for name, kind in (kinds or {}).items()}
    return by_name, by_name.pop("*", None)


def resolve(name: str, kinds: Kinds, *, where: str, parent: str | None = None) -> tuple[str, bool]:
    """Return a name's kind (or ``"auto"``), and whether the name is a class.

    What the user gave by name comes first, then what the name means, then what was given for all.

    Raises ``UnusableError`` for a name that means nothing here.
    """
    by_name, rest = given_kinds(kinds)
    kind, is_class = kind_named(name, parent)
    kind = by_name.get(name.strip().lower(), kind or rest)
    if kind is None:
        raise UnusableError(
            where,
            f"{name!r} is no kind of cell known here; say which it is with "
            f"--kind '{name}=wbc' (or rbc, platelet, auto)",
        )
    return kind, is_class


def guess(image: np.ndarray, masks: Sequence[tuple[tuple[int, int], np.ndarray]]) -> list[str]:
    """Return the kind of each cell of an image by size and stain.

    White cells and platelets have nuclear stain (azure), red cells have none; platelets are no
    larger than the image's red cells. Without whole red cells all stained ones are white.

    ``image``: RGB uint8 (H, W, 3); ``masks``: offset ``x0, y0`` and bool (h, w) of each cell.
    """
    stain = azure(optical_density(image, slide(image)[0]))
    height, width = image.shape[:2]
    stained, area, whole = [], [], []
    for (x0, y0), mask in masks:
        y1, x1 = y0 + mask.shape[0], x0 + mask.shape[1]
        stained.append(float(stain[y0:y1, x0:x1][mask].mean()) > _STAINED)
        area.append(int(np.count_nonzero(mask)))
        whole.append(x0 > 0 and y0 > 0 and x1 < width and y1 < height)
    red = [a for a, d, w in zip(area, stained, whole, strict=True) if w and not d]
    small = _SMALL * float(np.median(red)) if red else 0.0
    return [
        ("platelet" if a < small else "wbc") if is_stained else "rbc"
        for a, is_stained in zip(area, stained, strict=True)
    ]


def _plain(name: str) -> str:
    letters = "".join(c for c in name.lower() if c.isalpha())
    return letters[:-1] if letters.endswith("s") and len(letters) > 4 else letters


def _plain_kind(name: str) -> str | None:
    plain = _plain(name)
    return next((kind for kind, names in _NAMES.items() if plain in names), None)


def _class_names() -> frozenset[str]:
    """Return the plain names of nucleated classes that the label schemes know."""
    eleven = SCHEMES["pbc11"]
    names = [*(eleven.labels or ()), *eleven.prefixes, *eleven.names]
    return frozenset(_plain(name) for name in names if _plain_kind(name) is None)
