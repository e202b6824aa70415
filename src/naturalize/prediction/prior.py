"""A set's class mix as a prior: stated, or estimated from the answers for the whole set.

A network answers as if classes were as frequent as in training. Where another mix is known,
probabilities are multiplied by its ratio to the training mix and made to sum to one (Saerens,
Latinne and Decaestecker, *Adjusting the outputs of a classifier to new a priori probabilities*,
Neural Computation 2002, eq. 2.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.base.text import pieces_of
from naturalize.prediction.files import LOW, Prediction

#: What stands for a mix that is to be estimated.
ESTIMATE = "estimate"

#: Steps of the estimate at most, the change that ends it, and cells below which it says nothing.
_STEPS, _CLOSE, _LEAST = 1000, 1e-6, 32

#: How far stated shares may miss a sum of one, as rounding does.
_ROUNDING = 0.005


def parse(text: str, classes: Sequence[str]) -> np.ndarray:
    """Return the mix that a text such as ``"BNE+SNE=0.6,LY=0.3"`` states, float (C,).

    Classes that are joined with ``+`` share evenly, and so do those that are not named share what
    is left. ``SettingsError`` for an unknown class, one named twice, or shares that do not fit.

    Examples
    --------
    >>> parse("BNE+SNE=0.6,LY=0.3", ["BNE", "SNE", "LY", "EO", "MO"]).round(2).tolist()
    [0.3, 0.3, 0.3, 0.05, 0.05]
    """
    shares: dict[str, float] = {}
    for piece in pieces_of(text) or [""]:
        names, _, number = piece.partition("=")
        parts = [name.strip() for name in names.split("+")]
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise SettingsError(
                f"--prior: expected CLASS=SHARE,… with shares from 0 to 1, such as "
                f"BNE+SNE=0.6,LY=0.3, or {ESTIMATE}; got {piece!r}"
            )
        for name in parts:
            if name not in classes:
                raise unknown("class in --prior", name, list(classes))
            if name in shares:
                raise SettingsError(f"--prior: names {name} twice")
            shares[name] = share / len(parts)
    rest, total = [name for name in classes if name not in shares], sum(shares.values())
    if total > 1 + _ROUNDING or (not rest and total < 1 - _ROUNDING):
        raise SettingsError(f"--prior: the shares sum to {total:g}, expected 1")
    left = max(0.0, 1 - total)
    found = np.array([shares.get(name, left / max(1, len(rest))) for name in classes])
    return found / found.sum()


def reweighted(
    probabilities: np.ndarray, prior: np.ndarray, training: np.ndarray | None = None
) -> np.ndarray:
    """Return probabilities (N, C) under another class mix, float32; rows sum to one.

    ``prior`` and ``training`` are mixes, float (C,); the training mix is even by default. A row
    that the prior rules out stays as it is.
    """
    ratio = prior / (training if training is not None else 1.0)
    found = probabilities * ratio
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=probabilities.astype(float), where=total > 0).astype(
        np.float32
    )


def estimate(probabilities: np.ndarray, training: np.ndarray | None = None) -> np.ndarray:
    """Return the class mix of a set that makes its answers most likely, float (C,).

    The EM algorithm of Saerens et al. 2002, eq. 2.9, from probabilities (N, C). ``InputError`` for
    fewer than 32 rows.
    """
    if len(probabilities) < _LEAST:
        raise InputError(
            f"--prior {ESTIMATE}: {len(probabilities)} cells say too little of a class mix; "
            f"{_LEAST} are needed, or state the mix"
        )
    classes = probabilities.shape[1]
    found = np.full(classes, 1 / classes) if training is None else training
    for _ in range(_STEPS):
        before, found = found, reweighted(probabilities, found, training).mean(axis=0, dtype=float)
        if np.abs(found - before).max() < _CLOSE:
            break
    return found


def under(
    rows: Sequence[Prediction], text: str, classes: Sequence[str], *, unsure: float
) -> list[Prediction]:
    """Return predictions under a class mix, stated or to be estimated.

    ``unsure`` is the confidence below which a row is flagged. Rows without probabilities stay; the
    others say the mix in ``prior``.
    """
    stated = None if text == ESTIMATE else parse(text, classes)
    known = [row.probabilities for row in rows if row.probabilities is not None]
    if not known:
        return list(rows)
    before = np.stack(known)
    prior = estimate(before) if stated is None else stated
    said = ", ".join(
        f"{name}={share:.3g}" for name, share in zip(classes, prior, strict=True) if share >= 0.0005
    )
    after = iter(reweighted(before, prior))
    return [
        row if row.probabilities is None else _answer(row, next(after), classes, unsure, said)
        for row in rows
    ]


def _answer(
    row: Prediction, probabilities: np.ndarray, classes: Sequence[str], unsure: float, prior: str
) -> Prediction:
    place = int(probabilities.argmax())
    confidence = float(probabilities[place])
    # sets by class hold under any mix, and what an image is like does not depend on it
    row = replace(row, flags=tuple(flag for flag in row.flags if flag != LOW))
    flags = row.flags if row.unsure or confidence >= unsure else (*row.flags, LOW)
    return replace(
        row,
        label=classes[place],
        confidence=confidence,
        probabilities=probabilities,
        flags=flags,
        prior=prior,
    )
