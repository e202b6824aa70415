"""Reader of a tree with one folder a class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from naturalize.base.walk import Walk, walk_images
from naturalize.dataset.readers.listing import Item, Listing, listing
from naturalize.dataset.schemes import Scheme


def read_folders(root: Path, scheme: Scheme, *, walk: Walk | None = None) -> Listing:
    """List a tree whose first folder below ``root`` is the class; images may lie deeper.

    Images at the root itself have no class and are skipped by name; folders that have no class in
    the scheme are dropped and counted.
    """
    walk = walk or walk_images(root)
    skipped, items, dropped = list(walk.skipped), [], Counter[str]()
    for path in walk.images:
        folder, slash, _ = path.partition("/")
        if not slash:
            skipped.append({"path": path, "reason": "lies beside the class folders, not in one"})
        elif (label := scheme.label_of(folder)) is None:
            dropped[folder] += 1
        else:
            items.append(Item(path, label))
    return listing(root, "folders", scheme, items, skipped=skipped, dropped=dropped)
