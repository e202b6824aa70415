"""What a review is, and how it is shown."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from pydantic import Field, field_validator, model_validator

from naturalize.base.settings import Settings
from naturalize.base.text import has_controls

#: The laboratory's usual order; other classes follow by name.
ORDER = ("SNE", "BNE", "EO", "BA", "LY", "MO", "MMY", "MY", "PMY", "ERB", "PLT")

#: Characters that the name of a class has at most, as in requests.
LONGEST = 100

#: Keys that do other things: undo, accept, help, zoom.
RESERVED = frozenset("ux?+-/ ")

#: Keys that classes get, in the order of bins.
_KEYS = [key for key in "1234567890" + string.ascii_lowercase if key not in RESERVED]


class ReviewSettings(Settings):
    """The settings of a review, as ``review.db`` keeps them.

    ``classes`` in the model's order; ``bins`` in the laboratory's, unidentified not among them;
    ``keys``: bin → one character; ``target``: cells to count; ``rules``: flags that a user defines;
    ``set_share``: what the sets of classes promise; ``shown``: pixels of the file that a thumbnail
    spans; ``platelets``: those found in fields, which are not reviewed one by one; ``left_out``:
    reason → files.
    """

    name: str
    created: str
    classes: list[str]
    bins: list[str] = Field(default_factory=list)
    keys: dict[str, str] = Field(default_factory=dict)
    model: str = ""
    weights_hash: str = ""
    root: str = ""
    source: list[str] = Field(default_factory=list)
    input: Literal["folder", "fields", "predictions"] = "predictions"
    target: int = Field(100, ge=1)
    rules: list[str] = Field(default_factory=list)
    set_share: float | None = None
    heat: bool = False
    shown: int = Field(360, ge=1)
    platelets: int | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    reference: str | None = None

    @field_validator("bins")
    @classmethod
    def _bins_once(cls, bins: list[str]) -> list[str]:
        if len(set(bins)) < len(bins) or not all(bins):
            raise ValueError("a class is named twice, or has no name")
        if strange := [c for c in bins if len(c) > LONGEST or has_controls(c) or set(c) & {*"<>"}]:
            raise ValueError(
                f"{strange[0][:LONGEST]!r}: names of classes have at most {LONGEST} characters, "
                "none of them < or > or a control character"
            )
        return bins

    @model_validator(mode="after")
    def _keys_fit(self) -> ReviewSettings:
        taken = list(self.keys.values())
        if strange := [code for code in self.keys if code not in self.bins]:
            raise ValueError(f"keys of classes that are no bins: {', '.join(strange)}")
        if bad := [key for key in taken if len(key) != 1 or key in RESERVED]:
            raise ValueError(f"{bad[0]!r} cannot be the key of a class")
        if len(set(taken)) < len(taken):
            raise ValueError("two classes have the same key")
        return self


def bins_of(classes: Iterable[str]) -> list[str]:
    """Return classes in the laboratory's order.

    Examples
    --------
    >>> bins_of(["LY", "blast", "SNE"])
    ['SNE', 'LY', 'blast']
    """
    place = {code: i for i, code in enumerate(ORDER)}
    return sorted(set(classes), key=lambda code: (place.get(code, len(ORDER)), code))


def keys_of(bins: Sequence[str], had: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Return the key that each bin had, and a free one for any other, as long as there are keys.

    Examples
    --------
    >>> keys_of(["SNE", "LY"], {"LY": "1"})
    {'LY': '1', 'SNE': '2'}
    """
    kept = {code: had[code] for code in bins if code in had}
    free = (key for key in _KEYS if key not in kept.values())
    return kept | dict(zip((code for code in bins if code not in kept), free, strict=False))
