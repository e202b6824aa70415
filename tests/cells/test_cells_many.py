"""Many images: flat memory, one pool, the same bytes by any number of workers."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from naturalize.base import engine
from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.images import write_image
from naturalize.cells import segment as module
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tables import CELLS, OUTCOMES
from naturalize.dataset.phantom import render_phantom

FLAT = """
    import resource, sys
    import numpy as np
    from pathlib import Path
    from naturalize.cells import segment
    from naturalize.cells.segmenters import segmenter
    from naturalize.cells.tables import image_row

    work = Path(sys.argv[1])
    found = segmenter("classical").segment(segment.read_image(work / "image.jpg"))
    row = image_row("", "", segment.read_image(work / "image.jpg"), found)
    for cell in row["cells"]:
        cell["mask"] = np.arange(1500, dtype=np.uint32)  # as of a ragged cell in a large image

    def ready(task, *_rest):
        return {**row, "image_id": task.image_id, "path": task.path}

    segment._row = ready
    for n in (200, 200, 900):
        items = [(f"{i:016x}", f"{i}.jpg") for i in range(n)]
        segment.segment_images(items, work, segmenter("classical"), work / f"{n}")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    write_image(tmp_path / "image.jpg", render_phantom("LY", 2, 0).image)
    code = textwrap.dedent(FLAT)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, few, many = map(int, done.stdout.split())
    cells = read_table(tmp_path / "900" / "cells.parquet", CELLS)
    assert cells.nbytes > 60e6  # what is written is far more than the memory may grow
    assert many - few < 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    for i in range(14):
        image = render_phantom("MO", 6, i % 12, size=(120, 121)).image
        write_image(root / f"{i}.png", image)
    return root


#: Fourteen files; the last two have the bytes of the first two.
ITEMS = [(f"{i % 12:x}", f"{i}.png") for i in range(14)]


def test_a_pool_is_started_once_for_all_pieces(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 0
    real = engine.map

    def counted(*args, **kwargs):
        nonlocal started
        started += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(module.engine, "map", counted)
    monkeypatch.setattr(module, "_PIECE", 4)
    find = segmenter("classical")
    two = segment_images(
        ITEMS, folder, find, tmp_path / "two", overlays=True, masks=True,
        backend="processes", workers=2,
    )  # fmt: skip
    assert started == 1
    one = segment_images(ITEMS, folder, find, tmp_path / "one", overlays=True, masks=True)
    assert read_manifest(one).files == read_manifest(two).files
    assert read_table(one / "outcomes.parquet", OUTCOMES).num_rows == 14


def test_copies_in_other_pieces_share_their_cells(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PIECE", 4)
    out = segment_images(ITEMS, folder, segmenter("classical"), tmp_path / "out")
    ids = read_table(out / "cells.parquet", CELLS)["cell_id"].to_pylist()
    assert len(ids) == len(set(ids)) > 0
    assert {cell.split("-")[0] for cell in ids} == {f"{i:x}" for i in range(12)}
