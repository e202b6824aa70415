"""Cells over many images, and the bank: resumable, the same on any engine, nothing from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.artifacts import read_manifest, read_table
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.imaging.runlength import decode
from naturalize.inputs.images import segment_source


@pytest.fixture(scope="module")
def catalog(phantom_root: Path) -> Catalog:
    return Catalog.build(phantom_root, scheme="pbc11")


@pytest.fixture(scope="module")
def items(catalog: Catalog) -> list[tuple[str, str]]:
    rows = catalog.usable().select(["image_id", "path"]).to_pylist()
    return [(row["image_id"], row["path"]) for row in rows]


@pytest.fixture(scope="module")
def cells(catalog: Catalog, items, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cells") / "cells"
    return segment_images(items, catalog.root, segmenter("classical"), out, masks=True)


@pytest.fixture(scope="module")
def split(catalog: Catalog) -> Split:
    return Split.build(catalog, fractions=(0.5, 0.25, 0.25), seed=4)


@pytest.fixture(scope="module")
def bank(cells: Path, catalog: Catalog, split: Split) -> CellBank:
    return CellBank.build(cells, catalog, split)


def test_every_image_has_an_outcome_and_a_mask(cells: Path, items) -> None:
    outcomes = read_table(cells / "outcomes.parquet").to_pylist()
    assert {row["path"] for row in outcomes} == {path for _, path in items}
    masks = sorted((cells / "masks").rglob("*.png"))
    assert len(masks) == len(items)
    assert set(np.unique(read_image(masks[0])[:, :, 0])) <= {0, 1, 2, 3}


def test_rows_say_what_their_masks_say(cells: Path) -> None:
    for row in read_table(cells / "cells.parquet").to_pylist()[:80]:
        shape = (row["y1"] - row["y0"], row["x1"] - row["x0"])
        mask = decode(np.array(row["mask"]), shape)
        assert mask.sum() == row["area"]
        assert mask.any(0).all() or mask.any(1).all()
        if row["nc_ratio"] is not None:
            assert 0 < row["nc_ratio"] <= 1


def test_two_processes_give_the_same_cells(cells: Path, catalog: Catalog, items, tmp_path) -> None:
    other = segment_images(
        items, catalog.root, segmenter("classical"), tmp_path / "cells",
        masks=True, backend="processes", workers=2,
    )  # fmt: skip
    assert read_manifest(other).files == read_manifest(cells).files


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from naturalize.base import shards
    from naturalize.cells.segment import segment_images
    from naturalize.cells.segmenters import segmenter

    write = shards.write_table
    def write_and_die(path, table):
        write(path, table)
        os.kill(os.getpid(), signal.SIGKILL)
    shards.write_table = write_and_die
    root = Path(sys.argv[1])
    names = sys.argv[3:]
    segment_images([(str(i), n) for i, n in enumerate(names)], root,
                   segmenter("classical"), sys.argv[2])
"""


def test_a_killed_run_leaves_no_artifact_and_ends_the_same(
    catalog: Catalog, items, tmp_path: Path
) -> None:
    few = [(str(i), path) for i, (_, path) in enumerate(items[:5])]
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(catalog.root)]
    command += [str(tmp_path / "killed"), *(path for _, path in few)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "killed").exists()
    paths = [
        segment_images(few, catalog.root, segmenter("classical"), tmp_path / name)
        for name in ("killed", "whole")
    ]
    assert read_manifest(paths[0]).files == read_manifest(paths[1]).files
    assert not (tmp_path / ".killed.work").exists()


def test_no_cell_comes_from_outside_the_part(bank: CellBank, split: Split) -> None:
    part = split.part_of()
    assert {part[x] for x in bank.table["image_id"].to_pylist()} == {"train"}
    assert {part[x] for x in bank.backgrounds["image_id"].to_pylist()} == {"train"}


def test_targets_have_their_images_label(bank: CellBank, catalog: Catalog) -> None:
    rows = catalog.usable().select(["image_id", "label"]).to_pylist()
    label_of = {row["image_id"]: row["label"] for row in rows}
    targets = bank.cells(target=True, accepted=None).to_pylist()
    assert len(targets) > 20
    assert all(row["label"] == label_of[row["image_id"]] for row in targets)
    assert all((row["kind"] == "platelet") == (row["label"] == "PLT") for row in targets)
    assert len({row["image_id"] for row in targets}) == len(targets)


def test_every_rejected_cell_has_a_reason_and_no_other(bank: CellBank) -> None:
    for row in bank.cells(accepted=None).to_pylist():
        assert (row["reason"] is None) == row["accepted"]


def test_no_accepted_cell_is_cut_by_the_border(bank: CellBank) -> None:
    assert not any(bank.cells()["touches_border"].to_pylist())
    assert bank.cells(whole=False).num_rows == 0
    assert bank.cells(whole=True).num_rows == bank.cells().num_rows > 0


def test_a_cutout_is_the_images_own_pixels(bank: CellBank, catalog: Catalog) -> None:
    row = bank.cells(kind="wbc", target=True).to_pylist()[0]
    cut = bank.cutout(row["cell_id"])
    image = catalog.read(row["image_id"])
    assert np.array_equal(cut.rgb, image[row["y0"] : row["y1"], row["x0"] : row["x1"]])
    assert cut.mask.sum() == row["area"]


def test_a_saved_bank_opens_with_the_same_cells(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank")
    loaded = CellBank.load(tmp_path / "bank")
    assert loaded.table.equals(bank.table)
    assert loaded.fingerprint == bank.fingerprint
    assert loaded.labels == bank.labels
    assert (tmp_path / "bank" / "sheet.jpg").is_file()


def test_a_moved_or_changed_source_is_named(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank")
    cell = bank.cells(kind="wbc").to_pylist()[0]
    moved = CellBank.load(tmp_path / "bank", root=tmp_path)
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        moved.cutout(cell["cell_id"])
    other = next(r for r in bank.cells().to_pylist() if r["image_id"] != cell["image_id"])
    place = tmp_path / cell["path"]
    place.parent.mkdir(parents=True)
    place.write_bytes((bank.root / other["path"]).read_bytes())
    with pytest.raises(ArtifactError, match="changed"):
        moved.image(cell["image_id"], check=True)


def test_unknown_cells_are_errors(bank: CellBank) -> None:
    with pytest.raises(InputError):
        bank.cutout("none-0")


def test_a_source_may_be_one_image_a_tree_or_a_catalog(
    catalog: Catalog, items, tmp_path: Path
) -> None:
    find = segmenter("classical")
    one = segment_source(catalog.root / items[0][1], find, tmp_path / "one")
    assert read_table(one / "outcomes.parquet").num_rows == 1
    catalog.save(tmp_path / "catalog")
    whole = segment_source(tmp_path / "catalog", find, tmp_path / "whole", backend="processes")
    assert read_table(whole / "outcomes.parquet").num_rows == len(items)


def test_unreadable_images_are_outcomes_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "empty.jpg").write_bytes(b"")
    (tmp_path / "images" / "text.png").write_text("no picture")
    out = segment_source(tmp_path / "images", segmenter("classical"), tmp_path / "out")
    outcomes = read_table(out / "outcomes.parquet")["outcome"].to_pylist()
    assert len(outcomes) == 2
    assert "ok" not in outcomes


@pytest.mark.parametrize("name", ["nowhere", "notes.txt", "bare"])
def test_a_source_without_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bare").mkdir()
    with pytest.raises(InputError, match=name):
        segment_source(tmp_path / name, segmenter("classical"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
