"""How many composites each class gets, and which of its cells they are made from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.rng import rng

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: What a plan counts for each recipe that is drawn anew because it is equal to another one.
DUPLICATES = "composites discarded as duplicates"

#: Cells are dealt out in decks of about this many, so that small classes need few generators.
_DECK = 4096


def named(name: str) -> int:
    """Return how many composites a class of a data set such as ``"2K-PBC"`` gets.

    Examples
    --------
    >>> named("2K-PBC"), named("1k")
    (2000, 1000)
    """
    found = re.fullmatch(r"([1-9]\d?)K(-PBC)?", name.strip(), flags=re.IGNORECASE)
    if not found:
        raise SettingsError(f"name: expected 1K-PBC, 2K-PBC or 3K-PBC, got {name!r}")
    return int(found[1]) * 1000


def real_counts(bank: CellBank) -> dict[str, int]:
    """Return class → number of images in which the bank's segmenter found the labelled cell."""
    table = bank.cells(target=True, accepted=None)
    pairs = set(zip(table["label"].to_pylist(), table["image_id"].to_pylist(), strict=True))
    found = Counter(label for label, _ in pairs)
    return {label: found[label] for label in bank.labels}


def chosen_classes(
    classes: Sequence[str] | None, labels: Sequence[str], default: Sequence[str]
) -> list[str]:
    """Return the classes to compose, in the order of ``labels``; an unknown one is an error."""
    if classes is None:
        return list(default)
    for label in classes:
        if label not in labels:
            raise unknown("class", label, list(labels))
    if not classes:
        raise SettingsError("classes: name at least one, or leave it out for the mode's own choice")
    return [label for label in labels if label in set(classes)]


def one_target(
    *,
    name: str | None = None,
    add: int | None = None,
    per_class: int | None = None,
    balance: bool = False,
) -> tuple[str, int | None]:
    """Return the one target that was given: ``("add" | "per_class", n)`` or ``("balance", None)``.

    ``SettingsError`` unless exactly one is given, of at least 1; ``name`` is one of :func:`named`.
    """
    numbers = {"name": name, "add": add, "per_class": per_class, "balance": balance or None}
    given = [key for key, value in numbers.items() if value is not None]
    if len(given) != 1:
        raise SettingsError(
            "name one target: name, add, per_class or balance "
            f"(found: {' and '.join(given) or 'none'})"
        )
    if name is not None:
        return "add", named(name)
    if balance:
        return "balance", None
    number = add if add is not None else per_class
    if number is None or number < 1:
        raise SettingsError(f"{given[0]}: expected at least 1, got {number}")
    return given[0], number


def target_counts(
    classes: Sequence[str], real: Mapping[str, int], target: str, number: int | None
) -> dict[str, int]:
    """Return class → number of composites.

    ``classes``: the classes to compose. ``real``: class → number of real images, of all classes.
    ``target``, ``number``: ``"add"``: ``number`` for each class. ``"per_class"``: as many as bring
    each class, real and composite together, to ``number``. ``"balance"``: to the size of the
    largest of all classes.

    ``InputError`` if no class needs a composite.
    """
    if target == "add":
        return dict.fromkeys(classes, number or 0)
    goal = max(real.values(), default=0) if number is None else number
    counts = {label: max(0, goal - real.get(label, 0)) for label in classes}
    if not any(counts.values()):
        have = ", ".join(f"{label} {real.get(label, 0):,}" for label in classes)
        raise InputError(
            f"no composite is needed: each class has {goal:,} real images or more ({have}); "
            "ask for more, or use add"
        )
    return counts


def deal(pool: np.ndarray, n: int, seed: int, *keys: str | int) -> np.ndarray:
    """Return ``n`` members of ``pool``, each as often as any other or once more, in random order.

    Every cell is dealt once before any is dealt again; the first ``k`` of ``n`` do not depend on
    ``n``.
    """
    rounds = max(1, _DECK // len(pool))
    decks = -(-n // (rounds * len(pool)))
    tiled = np.tile(pool, (rounds, 1))
    dealt = [rng(seed, *keys, deck).permuted(tiled, axis=1).ravel() for deck in range(decks)]
    return np.concatenate(dealt)[:n] if dealt else pool[:0]
