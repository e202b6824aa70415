"""The differential of a review: per cent with exact intervals, the target, and the left shift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from naturalize.base.errors import SettingsError
from naturalize.dataset.schemes import CLASS_NAMES, NO_LEUKOCYTES, meaning
from naturalize.evaluation.intervals import exact
from naturalize.fields.differential import ERYTHROBLAST, per_hundred, white_cells
from naturalize.fields.outcome import CUT
from naturalize.review.service.deliver.rules import parse
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

#: White cells that laboratories count: 100, of CLSI H20-A2 200, and 400 by two readers.
TARGETS = (100, 200, 400)

#: Promyelocytes, myelocytes and metamyelocytes are immature granulocytes, counted apart from bands
#: (Palmer et al., ICSH, Int. J. Lab. Hematol. 37, 2015).
IMMATURE = frozenset({"PMY", "MY", "MMY"})
_BAND, _NEUTROPHIL = frozenset({"BNE"}), frozenset({"BNE", "SNE"})

#: Classes that are platelets.
PLATELETS = frozenset({"PLT", "platelet"})


@dataclass(frozen=True)
class Share:
    """So many of so many cells: the share with its exact 95 % interval; null of no cell.

    Clopper & Pearson, Biometrika 26, 1934.
    """

    n: int
    of: int
    share: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def counted(cls, n: int, of: int) -> Share:
        """Return the share of ``n`` cells among ``of``.

        Examples
        --------
        >>> found = Share.counted(10, 10)
        >>> round(found.low, 4), found.high
        (0.6915, 1.0)
        """
        return cls(n, of, n / of, *exact(n, of)) if of else cls(n, of)


@dataclass(frozen=True)
class Row:
    """One class: its cells, their share of the white cells and of all nucleated cells.

    ``white`` is null for erythroblasts and ``nucleated`` too for platelets; ``at_target`` is the
    interval that the share of the white cells would have if as many as the target were counted and
    the share stayed.
    """

    code: str
    name: str
    n: int
    white: Share | None
    nucleated: Share | None
    at_target: tuple[float, float] | None


def is_immature(code: str) -> bool:
    """Return whether a class is of immature granulocytes, or of blasts other than of red cells.

    Examples
    --------
    >>> [is_immature(code) for code in ("PMY", "ig", "blast", "lymphoblast", "ERB", "BNE")]
    [True, True, True, True, False, False]
    """
    meant = meaning(code)
    blast = "blast" in code.lower() and code not in NO_LEUKOCYTES and not meant
    return blast or (bool(meant) and meant <= IMMATURE)


def row(code: str, n: Mapping[str, int], target: int) -> Row:
    """Return a class's row of the differential, from class → number of cells."""
    count = n.get(code, 0)
    whites = white_cells(n)
    nucleated = sum(k for c, k in n.items() if c not in PLATELETS)
    white = Share.counted(count, whites) if code not in NO_LEUKOCYTES else None
    expected = None
    if white is not None and white.share is not None:
        expected = exact(round(white.share * target), target)
    return Row(
        code,
        CLASS_NAMES.get(code, code),
        count,
        white,
        Share.counted(count, nucleated) if code not in PLATELETS else None,
        expected,
    )


def left_shift(n: Mapping[str, int]) -> dict[str, Share | None]:
    """Return bands and immature granulocytes among all neutrophils, and both together.

    ``immature_to_total`` is the I/T ratio: every neutrophil that is not segmented, of all
    neutrophils (Manroe et al., J. Pediatr. 95, 1979). Null where a class with cells does not say
    which of these its cells are.
    """
    of = {code: meaning(code) for code in n}
    bands = sum(k for code, k in n.items() if of[code] == _BAND)
    young = sum(k for code, k in n.items() if of[code] and of[code] <= IMMATURE)
    mature = sum(k for code, k in n.items() if of[code] and of[code] <= _NEUTROPHIL)
    mixed = _BAND not in of.values() or any(k for c, k in n.items() if of[c] == _NEUTROPHIL)
    every = mature + young
    return {
        "bands": None if mixed else Share.counted(bands, every),
        "immature_granulocytes": Share.counted(young, every),
        "immature_to_total": None if mixed else Share.counted(bands + young, every),
    }


def differential(
    bins: Sequence[str],
    n: Mapping[str, int],
    seen: Mapping[str, int],
    *,
    target: int,
    rules: Sequence[str] = (),
    unidentified: int = 0,
    cut: int = 0,
    found_platelets: int = 0,
) -> dict[str, Any]:
    """Return the differential as a JSON-able dict; rows in the order of ``bins``.

    ``n`` and ``seen`` are class → cells, and how many of them a person has seen. ``unidentified``
    cells, and those that the edge of a field cuts (``cut``), are counted nowhere else;
    ``found_platelets`` are those of whole fields, which nobody reviews. Shares are 0–1. ``said`` of
    a flag has it in words: also why a rule is not understood, as of a class that is gone.
    """
    n = {code: n.get(code, 0) for code in bins}
    whites = white_cells(n)
    renamed = {ERYTHROBLAST if meaning(c) == {ERYTHROBLAST} else c: k for c, k in n.items()}
    confirmed = white_cells(seen)
    flags: list[dict[str, Any]] = []
    for text in rules:
        try:
            flag = parse(text, bins).flag(n)
            flags.append({**asdict(flag), "said": flag.said})
        except SettingsError as error:
            flags.append({"rule": text, "fired": None, "said": f"not understood: {error}"})
    return {
        "rows": [asdict(row(code, n, target)) for code in bins],
        "white_cells": whites,
        "nucleated_cells": sum(k for code, k in n.items() if code not in PLATELETS),
        "platelets": found_platelets + sum(k for code, k in n.items() if code in PLATELETS),
        "erythroblasts_per_100": per_hundred(list(renamed), renamed),
        "unidentified": unidentified,
        "cut": cut,
        "target": target,
        "confirmed_white_cells": confirmed,
        "targets": [{"target": t, "confirmed": min(confirmed, t)} for t in TARGETS],
        "left_shift": {k: v and asdict(v) for k, v in left_shift(n).items()},
        "flags": flags,
    }


def check(rules: Sequence[str], bins: Sequence[str]) -> None:
    """Raise ``SettingsError``, with the place of the fault, for a rule that is not understood."""
    for text in rules:
        parse(text, bins)


def answer(review: Review, reading: int, actor: Actor) -> dict[str, Any]:
    """Return a reading's differential as it is now; see `differential`.

    Cells that the edge of their field cuts are counted apart: the next field may show them too.
    """
    settings = review.settings
    n, seen = Counter[str](), Counter[str]()
    unidentified = cut = 0
    for label, flag, was_seen, count in review.counts(reading, actor):
        if CUT in flag.split("; "):
            cut += count
        elif label is None:
            unidentified += count
        else:
            n[label] += count
            seen[label] += count * was_seen
    bins = [*settings.bins, *(code for code in n if code not in settings.bins)]
    return differential(
        bins,
        n,
        seen,
        target=settings.target,
        rules=settings.rules,
        unidentified=unidentified,
        cut=cut,
        found_platelets=settings.platelets or 0,
    )
