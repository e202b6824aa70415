"""Label schemes: which classes there are, and how a file or folder name becomes one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from naturalize.base.errors import unknown


@dataclass(frozen=True)
class Scheme:
    """A set of classes and the names that stand for them.

    ``labels`` are the classes, in the order of all tables and plots; ``None`` takes them as they
    are found. ``prefixes`` maps a file-name prefix (before the first ``_``) to its class, ``names``
    a class or folder name in lower case, for sources without prefixes; ``None`` is for one that is
    known and carries no class of this scheme, so that its images are dropped and counted.
    """

    name: str
    labels: tuple[str, ...] | None = None
    prefixes: Mapping[str, str | None] = field(default_factory=dict)
    names: Mapping[str, str | None] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Return whether a class or folder name means anything here (a class, or "dropped")."""
        return self.labels is None or name in self.labels or name.lower() in self._all_names()

    def label_of(self, name: str) -> str | None:
        """Return the class that a class or folder name stands for; ``None`` if it has none here."""
        if self.labels is None or name in self.labels:
            return name
        return self._all_names().get(name.lower())

    def _all_names(self) -> dict[str, str | None]:
        return {**{label.lower(): label for label in self.labels or ()}, **self.names}


_ELEVEN = ("BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE")

#: Prefix → class of 11, class of 8 (the folder), after Acevedo et al., Data in Brief 30 (2020).
_PBC = {
    "BA": ("BA", "basophil"),
    "BNE": ("BNE", "neutrophil"),
    "EO": ("EO", "eosinophil"),
    "ERB": ("ERB", "erythroblast"),
    "IG": (None, "ig"),
    "LY": ("LY", "lymphocyte"),
    "MMY": ("MMY", "ig"),
    "MO": ("MO", "monocyte"),
    "MY": ("MY", "ig"),
    "NEUTROPHIL": (None, "neutrophil"),
    "PLATELET": ("PLT", "platelet"),
    "PLT": ("PLT", "platelet"),
    "PMY": ("PMY", "ig"),
    "SNE": ("SNE", "neutrophil"),
}

#: What the field's abbreviations of classes stand for.
CLASS_NAMES = {
    "BA": "basophil",
    "BNE": "band neutrophil",
    "EO": "eosinophil",
    "ERB": "erythroblast",
    "IG": "immature granulocyte",
    "LY": "lymphocyte",
    "MMY": "metamyelocyte",
    "MO": "monocyte",
    "MY": "myelocyte",
    "NEU": "neutrophil",
    "PLT": "platelet",
    "PMY": "promyelocyte",
    "SNE": "segmented neutrophil",
}

#: The granulocytes in the order in which they mature.
MATURATION = ("PMY", "MY", "MMY", "BNE", "SNE")

#: Names other sources use → class of 11. ``ig`` and ``neutrophil`` do not say which subtype.
_NAMES_11: dict[str, str | None] = {
    **{name.replace(" ", "_"): label for label, name in CLASS_NAMES.items() if label in _ELEVEN},
    **dict.fromkeys(("ig", "neutrophil")),
}

SCHEMES: dict[str, Scheme] = {
    "pbc11": Scheme(
        "pbc11",
        _ELEVEN,
        {prefix: eleven for prefix, (eleven, _) in _PBC.items()},
        _NAMES_11,
    ),
    "pbc8": Scheme(
        "pbc8",
        tuple(sorted({eight for _, eight in _PBC.values()})),
        {prefix: eight for prefix, (_, eight) in _PBC.items()},
        {
            **{prefix.lower(): eight for prefix, (_, eight) in _PBC.items()},
            **{
                name: next(eight for one, eight in _PBC.values() if one == eleven)
                for name, eleven in _NAMES_11.items()
                if eleven is not None
            },
        },
    ),
    "folders": Scheme("folders"),
}


def scheme(name: str | Scheme) -> Scheme:
    """Return the scheme called ``name``; ``SettingsError`` names the choices if there is none."""
    if isinstance(name, Scheme):
        return name
    if name not in SCHEMES:
        raise unknown("scheme", name, list(SCHEMES))
    return SCHEMES[name]


#: Classes that are counted beside the leukocytes, not among them.
NO_LEUKOCYTES = frozenset({"ERB", "PLT", "erythroblast", "platelet"})


#: What laboratories and data sets call these cells besides → classes of 11. Lower case, letters and
#: digits only, in the singular.
_CALLED: dict[str, tuple[str, ...]] = {
    **{code.lower(): (code,) for code in _ELEVEN},
    **{re.sub(r"\W", "", CLASS_NAMES[code]): (code,) for code in _ELEVEN},
    **dict.fromkeys(("neutrophil", "neutro", "neut", "neu", "ne"), ("BNE", "SNE")),
    **dict.fromkeys(("immaturegranulocyte", "ig"), ("MMY", "MY", "PMY")),
    **dict.fromkeys(("band", "bandneut", "stab"), ("BNE",)),
    **dict.fromkeys(("segmented", "seg", "segneut"), ("SNE",)),
    **dict.fromkeys(("lymphocyte", "lympho", "lymph", "lym"), ("LY",)),
    **dict.fromkeys(("mono", "mon"), ("MO",)),
    **dict.fromkeys(("eosino", "eosin"), ("EO",)),
    "baso": ("BA",),
    **dict.fromkeys(("normoblast", "nrbc"), ("ERB",)),
    **dict.fromkeys(("thrombocyte", "thrombo"), ("PLT",)),
}


def meaning(name: str) -> frozenset[str]:
    """Return the classes of 11 that a usual name of a class stands for; empty for other names.

    Examples
    --------
    >>> sorted(meaning("Neutrophils")), sorted(meaning("EOS")), sorted(meaning("blast"))
    (['BNE', 'SNE'], ['EO'], [])
    """
    bare = re.sub(r"[\W_]", "", name.lower())
    return frozenset(_CALLED.get(bare) or _CALLED.get(bare.removesuffix("s")) or ())


def stages(labels: Sequence[str]) -> list[int | None]:
    """Return the place of each class along `MATURATION`; null for one that is no single stage.

    Examples
    --------
    >>> stages(["BNE", "EO", "myelocyte", "neutrophil"])
    [3, None, 1, None]
    """
    meant = [next(iter(found)) if len(found := meaning(x)) == 1 else None for x in labels]
    return [MATURATION.index(code) if code in MATURATION else None for code in meant]
