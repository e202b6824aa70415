"""The same question to human observers: a shuffled, numbered sheet, its answers, and a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.artifacts import write_bytes, writing
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.base.rng import rng
from naturalize.base.settings import validated
from naturalize.base.sheets import contact_sheet
from naturalize.base.statistics import wilson
from naturalize.base.table import csv_text, read_rows
from naturalize.realism.history import History, paint
from naturalize.realism.sample import Sample, choose
from naturalize.realism.settings import LEAST, RealismSettings, check_history

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

_KINDS = ("real", "composite")


@dataclass(frozen=True)
class ObserverScore:
    """How often an observer was right; ``low`` and ``high``: Wilson's 95 % interval."""

    n: int
    right: int
    low: float
    high: float
    real_right: tuple[int, int]
    composite_right: tuple[int, int]
    skipped: int

    @property
    def accuracy(self) -> float:
        """Share of right guesses."""
        return self.right / self.n

    @property
    def verdict(self) -> str:
        """Whether that is better than tossing a coin."""
        if self.low > 0.5:
            return "better than chance: composites can be distinguished"
        if self.high < 0.5:
            return "worse than chance: composites look more real than real images"
        return "no better than chance"


def write_sheet(
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    each: int = 50,
    classes: Sequence[str] | None = None,
    history: str = "lossless",
    seed: int = 0,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Write ``sheet.jpg`` (shuffled, numbered), ``guesses.csv`` (to fill in) and ``answers.csv``.

    They are the ``observer-sheet`` artifact at ``out``. ``each``: how many real images and how many
    composites, the classes in turn; the rest as for :func:`naturalize.realism.run.realism`.
    """
    if each < 5:
        raise SettingsError(f"a sheet needs 5 images of each kind or more, got {each}")
    check_history(history, None)
    labels = list(classes) if classes is not None else [c for c, n in plan.targets.items() if n]
    per_class = max(LEAST, -(-each // max(len(labels), 1)))
    run: dict[str, Any] = {"backend": backend, "workers": workers}
    chosen = {"per_class": per_class, "classes": classes, "seed": seed}
    asked = validated(RealismSettings, chosen, what="sheet")
    sample = choose(plan, bank, asked, spare=False, **run)
    past = History.of(history, sample.recipes)
    rows, images = _drawn(sample, bank, past, each, seed, run)
    settings = {"each": each, "classes": labels, "history": past.name, "seed": seed}
    inputs = {"plan": plan.fingerprint, "bank": bank.fingerprint}
    with writing(out, "observer-sheet", settings=settings, inputs=inputs) as folder:
        sheet = contact_sheet(
            images,
            captions=[f"{row[0]}  {row[2]}" for row in rows],
            columns=10,
            tile=max(max(image.shape[:2]) for image in images),
            title="Real or composite? Write your guesses into guesses.csv",
        )
        write_image(folder / "sheet.jpg", sheet, quality=95)
        write_bytes(
            folder / "answers.csv", csv_text(("number", "kind", "label", "image"), rows).encode()
        )
        write_bytes(
            folder / "guesses.csv",
            csv_text(("number", "guess"), [(row[0], "") for row in rows]).encode(),
        )
    return Path(out)


def _drawn(
    sample: Sample, bank: CellBank, history: History, each: int, seed: int, run: dict
) -> tuple[list[tuple[int, str, str, str]], list[np.ndarray]]:
    real = _in_turn([label for _, label in sample.real], each)
    made = _in_turn([recipe.label for recipe in sample.recipes], each)
    recipes = [sample.recipes[i] for i in made]
    images = [history.image(bank.image(sample.real[i][0])) for i in real]
    images += paint(recipes, bank, history, **run)
    shown = [("real", sample.real[i][1], sample.real[i][0]) for i in real]
    shown += [("composite", recipe.label, recipe.recipe_id) for recipe in recipes]
    order = rng(seed, "realism", "sheet").permutation(len(shown)).tolist()
    rows = [(number, *shown[i]) for number, i in enumerate(order, start=1)]
    return rows, [images[i] for i in order]


def _in_turn(labels: Sequence[str], n: int) -> list[int]:
    """Return positions of ``n`` items, the classes taking turns."""
    if len(labels) < n:
        raise InputError(
            f"the sheet: {len(labels)} images of a kind, fewer than the {n} asked for; ask for "
            "fewer, or compose more"
        )
    turn = [labels[:i].count(label) for i, label in enumerate(labels)]
    return sorted(range(len(labels)), key=turn.__getitem__)[:n]


def score_guesses(answers: str | Path, guesses: str | Path) -> ObserverScore:
    """Compare a filled-in ``guesses.csv`` with ``answers.csv``.

    A guess is ``real`` or ``composite``, or their first letters; an empty one counts for nothing.
    ``InputError`` for a file that is missing or no such table, an unknown number or word, or no
    guess at all.
    """
    truth = {row["number"]: row["kind"] for row in read_rows(answers, ("number", "kind"))}
    right, counts, skipped, seen = dict.fromkeys(_KINDS, 0), dict.fromkeys(_KINDS, 0), 0, set()
    for row in read_rows(guesses, ("number", "guess")):
        number, guess = row["number"], row["guess"].lower()
        if number not in truth:
            raise InputError(f"{row.where}: no image {number!r} on the sheet")
        if number in seen:
            raise InputError(f"{row.where}: image {number} is guessed twice")
        seen.add(number)
        if not guess:
            skipped += 1
            continue
        meant = next((kind for kind in _KINDS if kind.startswith(guess)), None)
        if meant is None:
            raise InputError(f"{row.where}: expected real or composite, got {row['guess']!r}")
        counts[truth[number]] += 1
        right[truth[number]] += meant == truth[number]
    n, hits = sum(counts.values()), sum(right.values())
    if not n:
        raise InputError(f"{guesses}: holds no guess; write real or composite beside each number")
    return ObserverScore(
        n,
        hits,
        *wilson(hits, n),
        (right["real"], counts["real"]),
        (right["composite"], counts["composite"]),
        skipped + len(truth) - len(seen),
    )
