"""A model's classes brought to those of the images: summed, renamed, or left out by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError, closest, unknown
from naturalize.base.text import pieces_of


@dataclass(frozen=True)
class Merge:
    """Which of a model's classes make up one of the images'."""

    #: Class of the images → classes of the model whose probabilities are summed for it. Classes of
    #: the model that are in none stay what they are: an answer that names one of them is wrong.
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Ask which of the mapped classes it is: all others are left out, and the probabilities of the
    #: mapped ones made to sum to one (as if it were known that no others can occur).
    only: bool = False

    @classmethod
    def parse(cls, texts: Sequence[str] | str | None, *, only: bool = False) -> Merge:
        """Read ``"Neutrophil=BNE+SNE,Eosinophil=EO"``, or several such texts.

        A name on the left may hold commas; one on the right then needs double quotes around its
        ``CLASS=…``.

        ``SettingsError`` if the text is of another form, or names a class of the images twice.

        Examples
        --------
        >>> Merge.parse("Neutrophil=BNE+SNE, Eosinophil=EO").classes
        {'Neutrophil': ('BNE', 'SNE'), 'Eosinophil': ('EO',)}
        """
        found: dict[str, tuple[str, ...]] = {}
        for part in _assignments(texts):
            name, sign, rest = part.partition("=")
            name, parts = name.strip(), tuple(word.strip() for word in rest.split("+"))
            if not sign or not name or not all(parts):
                raise SettingsError(
                    f"--map: expected CLASS=MODEL_CLASS+MODEL_CLASS,…, such as "
                    f"Neutrophil=BNE+SNE, got {part.strip()!r}"
                )
            if name in found:
                raise SettingsError(f"--map: names {name} twice; join its classes with +")
            found[name] = parts
        if only and not found:
            raise SettingsError("--only-mapped: say with --map which classes those are")
        return cls(found, only)

    def names(self, model_classes: Sequence[str]) -> list[str]:
        """Return the classes that are scored: each at the place of the first of its parts.

        ``model_classes``: the model's classes, in order.

        ``SettingsError`` if a class is none of the model's or in two of the images', or if a name
        would stand for a merged class and for another one of the model.

        Examples
        --------
        >>> Merge({"N": ("BNE", "SNE")}).names(["BNE", "EO", "SNE"])
        ['N', 'EO']
        """
        home = self._homes(model_classes)
        kept = [home.get(name, name) for name in model_classes if name in home or not self.only]
        return list(dict.fromkeys(kept))

    def apply(self, probabilities: np.ndarray, model_classes: Sequence[str]) -> np.ndarray:
        """Return float32 (N, K) in the order of :meth:`names` for float (N, C) of the model."""
        if not self.classes:
            return np.asarray(probabilities, np.float32)
        names, home = self.names(model_classes), self._homes(model_classes)
        place = {name: i for i, name in enumerate(names)}
        summed = np.zeros((len(probabilities), len(names)), np.float64)
        for column, name in enumerate(model_classes):
            if (to := place.get(home.get(name, name))) is not None:
                summed[:, to] += probabilities[:, column]
        if self.only:
            total = summed.sum(axis=1, keepdims=True)
            # a model that is sure of a class left out knows nothing of the others
            even = np.full_like(summed, 1 / len(names))
            summed = np.divide(summed, total, out=even, where=total > 0)
        return np.minimum(summed, 1.0).astype(np.float32)

    def unused(self, labels: Sequence[str]) -> list[str]:
        """Return a warning for each mapped class that is none of the images' ``labels``."""
        return [
            f"--map: no image is of class {name}{closest(name, list(labels))}"
            for name in self.classes
            if name not in labels
        ]

    def described(self) -> dict[str, Any] | None:
        """Return what ``metrics.json`` says of it; null where classes are as the model's."""
        if not self.classes:
            return None
        return {"classes": {k: list(v) for k, v in self.classes.items()}, "only": self.only}

    def _homes(self, model_classes: Sequence[str]) -> dict[str, str]:
        """Return class of the model → class of the images, for those that are mapped."""
        home: dict[str, str] = {}
        for name, parts in self.classes.items():
            for part in parts:
                if part not in model_classes:
                    raise unknown("class of the model in --map", part, list(model_classes))
                if part in home:
                    both = f"{home[part]} and {name}" if home[part] != name else f"{name} twice"
                    raise SettingsError(f"--map: {part} goes to {both}; it can go to one, once")
                home[part] = name
        for name in self.classes:
            if name in model_classes and name not in home and not self.only:
                raise SettingsError(
                    f"--map: {name} is a class of the model too, which goes nowhere; add it to one"
                )
        return home


def _assignments(texts: Sequence[str] | str | None) -> list[str]:
    """Return the ``CLASS=…`` pieces; one without ``=`` is the beginning of the next one's name."""
    found: list[str] = []
    for text in [texts] if isinstance(texts, str) else texts or ():
        begun: list[str] = []
        for piece in pieces_of(text) or [""]:
            begun.append(piece)
            if "=" in piece:
                found.append(", ".join(begun))
                begun = []
        found += begun
    return found
