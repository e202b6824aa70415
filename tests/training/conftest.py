"""Toy data, made once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """Catalog and split of toy images, and the folder they are saved in."""
    from toy import write_toys

    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    folder = tmp_path_factory.mktemp("toys")
    catalog = Catalog.build(write_toys(folder / "images"))
    split = Split.build(catalog, fractions=(0.6, 0.2, 0.2), seed=2)
    catalog.save(folder / "catalog")
    split.save(folder / "split")
    return catalog, split, folder
