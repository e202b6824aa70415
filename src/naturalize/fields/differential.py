"""The differential: white cells by class with exact intervals; erythroblasts per 100 of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from naturalize.dataset.schemes import CLASS_NAMES, NO_LEUKOCYTES
from naturalize.evaluation.intervals import exact
from naturalize.fields.outcome import BAD, CUT
from naturalize.prediction.files import DOUBTFUL

#: The class of nucleated red cells, which are counted per 100 white cells (ICSH 2014).
ERYTHROBLAST = "ERB"

#: Remarks on white cells of fields whose outcome speaks against their classes.
_OF_BAD = {f"{DOUBTFUL}: {outcome}" for outcome in BAD}


@dataclass(frozen=True)
class Share:
    """How many cells are of a class.

    ``share`` of the leukocytes with its exact 95 % interval ``low`` to ``high`` (Clopper & Pearson,
    Biometrika 26, 1934), null for erythroblasts, which are no leukocytes; ``unsure``: how many of
    the ``n`` are in doubt.
    """

    label: str
    name: str
    n: int
    unsure: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


def counted(rows: Iterable[tuple[str | None, str]]) -> tuple[Counter[str], Counter[str]]:
    """Return how many white cells each class has, and how many of these are in doubt.

    ``rows`` are label and flag of white cells. A cell that the edge cuts is not counted: the rest
    of it may decide its class, and the next field may show it too. Nor is one of a field, or of a
    part of a scan, whose outcome speaks against it.

    Examples
    --------
    >>> counted([("LY", ""), ("LY", "unsure: two classes"), ("EO", CUT), (None, "")])
    (Counter({'LY': 2}), Counter({'LY': 1}))
    """
    found, unsure = Counter[str](), Counter[str]()
    for label, flag in rows:
        if label is None or CUT in flag.split("; ") or of_no_smear(flag):
            continue
        found[label] += 1
        unsure[label] += is_unsure(flag)
    return found, +unsure


def of_no_smear(flag: str) -> bool:
    """Return whether a cell's remarks say that its field is none that counts."""
    return not _OF_BAD.isdisjoint(flag.split("; "))


def is_unsure(flag: str) -> bool:
    """Return whether a cell's remarks say that its class is in doubt."""
    return any(remark.startswith(DOUBTFUL) for remark in flag.split("; "))


def white_cells(n: Mapping[str, int]) -> int:
    """Return how many of the cells of each class are leukocytes.

    Examples
    --------
    >>> white_cells({"LY": 3, "ERB": 2, "PLT": 9})
    3
    """
    return sum(count for label, count in n.items() if label not in NO_LEUKOCYTES)


def differential(
    classes: Sequence[str], n: Mapping[str, int], unsure: Mapping[str, int]
) -> list[Share]:
    """Return the classes that occur, in the model's order, from how many cells each has.

    Examples
    --------
    >>> rows = differential(["EO", "LY", "ERB"], {"EO": 1, "LY": 3, "ERB": 2}, {})
    >>> [(row.label, row.n, row.share, round(row.low or 0, 3)) for row in rows]
    [('EO', 1, 0.25, 0.006), ('LY', 3, 0.75, 0.194), ('ERB', 2, None, 0)]
    """
    whites = white_cells(n)
    found = []
    for label in classes:
        if not (count := n.get(label, 0)):
            continue
        share: tuple[float, ...] = ()
        if label not in NO_LEUKOCYTES:
            share = (count / whites, *exact(count, whites))
        name = CLASS_NAMES.get(label, "")
        found.append(Share(label, name, count, unsure.get(label, 0), *share))
    return found


def per_hundred(classes: Sequence[str], n: Mapping[str, int]) -> dict[str, float] | None:
    """Return erythroblasts per 100 leukocytes, ``value``, ``low`` and ``high``; null without any.

    The interval is the exact one of their share among both, as a ratio; null where the model has
    no such class.

    Examples
    --------
    >>> found = per_hundred(["LY", "ERB"], {"LY": 50, "ERB": 5})
    >>> {key: round(value, 2) for key, value in found.items()}
    {'value': 10.0, 'low': 3.11, 'high': 24.93}
    """
    whites = white_cells(n)
    if ERYTHROBLAST not in classes or not whites:
        return None
    red = n.get(ERYTHROBLAST, 0)
    low, high = exact(red, red + whites)
    return {
        "value": 100 * red / whites,
        "low": 100 * low / (1 - low),
        "high": 100 * high / (1 - high),
    }
