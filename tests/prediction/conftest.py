"""What several tests of prediction need."""

from __future__ import annotations

from pathlib import Path

import pytest

from naturalize.cells.bank import CellBank
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.catalog import Catalog
from naturalize.models.config import Standard
from naturalize.prediction.standard import measure_standard


@pytest.fixture(scope="session")
def home(phantom_root, tmp_path_factory) -> tuple[Standard, list[Path]]:
    """The standard of the phantom, and its images."""
    work = tmp_path_factory.mktemp("home")
    catalog = Catalog.build(phantom_root)
    usable = catalog.usable()
    items = list(zip(usable["image_id"].to_pylist(), usable["path"].to_pylist(), strict=True))[::4]
    segment_images(items, catalog.root, segmenter("classical"), work / "cells")
    bank = CellBank.build(work / "cells", catalog)
    paths = [catalog.root / path for _, path in items]
    return measure_standard(catalog, bank, alone=False), paths
