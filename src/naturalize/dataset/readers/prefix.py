"""Reader of PBC-like trees, where the file name begins with the class: ``BNE_191112.jpg``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from naturalize.base.errors import SettingsError
from naturalize.base.walk import Walk, walk_images
from naturalize.dataset.readers.listing import Item, Listing, listing
from naturalize.dataset.schemes import Scheme


def prefix_of(path: str) -> str | None:
    """Return what stands before the first ``_`` of the file name, in capitals; ``None`` if none.

    Examples
    --------
    >>> prefix_of("platelet/PLATELET_495918.jpg")
    'PLATELET'
    """
    head, underscore, _ = PurePosixPath(path).name.partition("_")
    return head.upper() if underscore and head else None


def read_prefix(root: Path, scheme: Scheme, *, walk: Walk | None = None) -> Listing:
    """List a tree by file-name prefix, whatever folders the files lie in.

    Prefixes that are known but carry no class in the scheme (``IG``, ``NEUTROPHIL`` under
    ``pbc11``) are dropped and counted; files with an unknown prefix are skipped by name.
    """
    if not scheme.prefixes:
        raise SettingsError(
            f"reader 'prefix' needs a scheme with prefixes (pbc11, pbc8), not {scheme.name!r}"
        )
    walk = walk or walk_images(root)
    skipped, items, dropped = list(walk.skipped), [], Counter[str]()
    for path in walk.images:
        prefix = prefix_of(path)
        if prefix is None or prefix not in scheme.prefixes:
            reason = f"prefix {prefix!r} is unknown" if prefix else "name has no prefix"
            skipped.append({"path": path, "reason": f"{reason} in scheme {scheme.name}"})
        elif (label := scheme.prefixes[prefix]) is None:
            dropped[prefix] += 1
        else:
            items.append(Item(path, label))
    return listing(root, "prefix", scheme, items, skipped=skipped, dropped=dropped)
