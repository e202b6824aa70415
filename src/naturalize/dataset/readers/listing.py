"""What a reader returns: the images of a source with their labels, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
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
    """What a reader found.

    Attributes
    ----------
    root
        Folder that the paths are relative to.
    reader
        Name of the reader.
    items
        The images, sorted by path.
    skipped
        ``{"path", "reason"}`` of each file or folder that was passed over.
    dropped
        Prefix or class name → number of images that have no class in the scheme.
    labels
        The classes, in order.
    """

    root: Path
    reader: str
    items: list[Item]
    skipped: list[dict[str, str]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


def listing(
    root: Path,
    reader: str,
    scheme: Scheme,
    items: list[Item],
    *,
    skipped: list[dict[str, str]] | None = None,
    dropped: Mapping[str, int] | None = None,
) -> Listing:
    """Return a :class:`Listing` in order: items by path, counts by name, classes by the scheme."""
    found = {item.label for item in items if item.label is not None}
    return Listing(
        root=root,
        reader=reader,
        items=sorted(items, key=lambda item: item.path),
        skipped=sorted(skipped or [], key=lambda entry: entry["path"]),
        dropped=dict(sorted(Counter(dropped or {}).items())),
        labels=scheme.labels if scheme.labels is not None else tuple(sorted(found)),
    )
