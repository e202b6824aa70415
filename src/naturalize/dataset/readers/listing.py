"""What a reader returns: the images of a source with their labels, and what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from naturalize.dataset.schemes import Scheme


@dataclass(frozen=True)
class Item:
    """One image of a source; ``path`` is relative to the root, with ``/`` between parts."""

    path: str
    label: str | None
    group: str | None = None
    source_part: str | None = None


@dataclass
class Listing:
    """What a reader found, brought into order.

    Paths are relative to ``root``. ``skipped`` lists ``{"path", "reason"}`` of each file or folder
    that was passed over, ``dropped`` says how many images of a prefix or class name have no class
    in the scheme.
    """

    root: Path
    reader: str
    scheme: Scheme
    items: list[Item]
    skipped: list[dict[str, str]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = sorted(self.items, key=lambda item: item.path)
        self.skipped = sorted(self.skipped, key=lambda entry: entry["path"])
        self.dropped = dict(sorted(self.dropped.items()))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the scheme; those that occur, if it takes any."""
        found = {item.label for item in self.items if item.label is not None}
        return self.scheme.labels if self.scheme.labels is not None else tuple(sorted(found))
