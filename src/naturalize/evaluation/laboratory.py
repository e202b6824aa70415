"""A laboratory: its labelled images, and those among them that stand apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import Item

#: Why an image says nothing new of a model: it, or nearly the same picture, was seen before.
EXPOSED = ("trained on", "duplicate", "near duplicate")


@dataclass(frozen=True)
class Apart:
    """An image that stands apart: why, what says more of it, and whether it is scored anyway.

    ``reason`` is one of `EXPOSED`, or ``contradicting`` (one picture, two classes), ``unknown
    class`` or ``unreadable``; ``detail`` is the other picture, or the class.
    """

    path: str
    reason: str
    detail: str = ""
    scored: bool = False


@dataclass(frozen=True)
class Laboratory:
    """The labelled images of a laboratory that are to be scored.

    ``merges`` says for each model, by name, which of its classes make up one of the images'.
    ``n_images`` counts those that were found, ``apart`` lists those that are not scored, or would
    better not be, and ``absent`` names the classes that other laboratories have.
    """

    name: str
    root: Path
    items: Sequence[Item]
    merges: Mapping[str, Merge]
    n_images: int
    apart: Sequence[Apart] = ()
    absent: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    source: Any = field(default=None, repr=False)  # keeps unpacked images in place

    def described(self) -> dict[str, Any]:
        """Return what ``labs.json`` says of it, whatever the model."""
        exposed = Counter(entry.reason for entry in self.apart if entry.reason in EXPOSED)
        return {
            "n_images": self.n_images,
            "n": len(self.items),
            "classes": dict(sorted(Counter(item.label for item in self.items).items())),
            "absent": list(self.absent),
            "groups": len({item.group for item in self.items if item.group is not None}),
            "exposed": {reason: exposed[reason] for reason in EXPOSED},
            "left_out": dict(sorted(Counter(e.reason for e in self.apart if not e.scored).items())),
            "apart": [asdict(entry) for entry in self.apart],
        }
