"""A bank on disk: old ones open, self-contained ones travel, sheets show what is in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from bank_makers import drawn_bank

from naturalize.base.artifacts import read_json, read_manifest, read_table
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.base.images import content_hash, read_image
from naturalize.cells.bank import CellBank
from naturalize.cells.bank.files import MARGIN
from naturalize.cells.pictures import cell_picture, grouped
from naturalize.cells.tables import overview
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render

GOLDEN = Path(__file__).parent / "golden" / "bank-v1"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return drawn_bank(tmp_path_factory.mktemp("files"))


def test_the_kept_bank_opens(tmp_path: Path) -> None:
    """Banks of this layout must open from now on; the kept one is never written again."""
    kept = CellBank.load(GOLDEN / "bank", check=True)
    manifest = read_manifest(GOLDEN / "bank")
    assert manifest.format_version == 1
    assert kept.fingerprint == manifest.fingerprint == "654cc0f6f5e0691c"
    assert (len(kept), kept.cells().num_rows) == (33, 10)
    assert kept.cells(label="LY").num_rows == kept.cells(label="SNE").num_rows == 1
    for row in kept:
        assert kept.cutout(row["cell_id"]).mask.sum() == row["area"]
        assert 0.5 < row["solidity"] <= 1
    kept.save(tmp_path / "new", self_contained=True)
    assert CellBank.load(tmp_path / "new", check=True).table.equals(kept.table)


def test_a_bank_in_a_notebook(bank: CellBank) -> None:
    n = bank.table.num_rows
    assert len(bank) == n == len(list(bank)) == 20
    assert bank[0] == bank[-n] == next(iter(bank)) == bank.row(bank[0]["cell_id"])
    assert bank[bank[3]["cell_id"]] == bank[3]
    with pytest.raises(IndexError):
        bank[n]
    assert len(repr(bank)) < 250
    assert "8 rbc" in repr(bank)
    assert bank.to_arrow().equals(bank.table)
    shown = overview(bank.table).to_pydict()
    assert sum(shown["accepted"]) == bank.cells().num_rows
    assert sum(shown["accepted"]) + sum(shown["rejected"]) == n
    assert bank._repr_html_().count("<tr>") == 1 + len(shown["kind"])


@pytest.mark.parametrize("holds", ["images", "crops"])
def test_a_self_contained_bank_needs_nothing_else(
    bank: CellBank, tmp_path: Path, holds: str
) -> None:
    bank.save(tmp_path / "here", self_contained=holds)
    shutil.move(tmp_path / "here", tmp_path / "there")
    sent = CellBank.load(tmp_path / "there", check=True)
    assert sent.root == tmp_path / "there" / "images"
    assert sent.holds == holds
    assert sent.fingerprint == bank.fingerprint
    assert sent.cells().num_rows == bank.cells().num_rows
    for row in sent.table.to_pylist():
        mine, its = (b.cutout(row["cell_id"], margin=3) for b in (bank, sent))
        assert np.array_equal(mine.rgb, its.rgb)
        assert np.array_equal(mine.mask, its.mask)
        assert row["image_id"] == bank.row(row["cell_id"])["image_id"]
        assert sent.image(row["image_id"]).shape[2] == 3


def test_copied_images_are_the_same_files(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank", self_contained=True)
    files = sorted((tmp_path / "bank" / "images").rglob("*.png"))
    ids = {content_hash(file.read_bytes()) for file in files}
    assert ids == set(bank.backgrounds["image_id"].to_pylist())
    assert CellBank.load(tmp_path / "bank").backgrounds.equals(bank.backgrounds)


def test_a_bank_of_crops_has_its_accepted_cells_and_a_margin(
    bank: CellBank, tmp_path: Path
) -> None:
    bank.save(tmp_path / "bank", self_contained="crops")
    sent = CellBank.load(tmp_path / "bank")
    assert sent.table["cell_id"].to_pylist() == bank.cells()["cell_id"].to_pylist()
    assert sent.backgrounds.num_rows == 0
    for row in sent.table.to_pylist():
        picture = read_image(sent.root / row["path"])
        was = bank.row(row["cell_id"])
        around = bank.cutout(row["cell_id"], margin=MARGIN).rgb
        assert np.array_equal(picture, around)
        assert row["x1"] - row["x0"] == was["x1"] - was["x0"]
    target = sent.cells(target=True).to_pylist()[0]
    shown = sent.image(target["image_id"])
    assert np.array_equal(shown, bank.cutout(target["cell_id"], margin=MARGIN).rgb)
    with pytest.raises(InputError, match="crops"):
        sent.save(tmp_path / "other", self_contained=True)


def test_a_bank_of_crops_saved_again_is_the_same_bank(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "one", self_contained="crops")
    CellBank.load(tmp_path / "one").save(tmp_path / "two")
    one, two = (read_manifest(tmp_path / name).files for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("holds", ["images", "crops"])
def test_saving_twice_gives_the_same_bytes(bank: CellBank, tmp_path: Path, holds: str) -> None:
    for name in ("one", "two"):
        bank.save(tmp_path / name, self_contained=holds)
    assert read_manifest(tmp_path / "one").files == read_manifest(tmp_path / "two").files


@pytest.mark.parametrize("holds", ["images", "crops"])
def test_composites_of_a_sent_bank_are_the_same_bytes(
    bank: CellBank, tmp_path: Path, holds: str
) -> None:
    bank.save(tmp_path / "bank", self_contained=holds)
    sent = CellBank.load(tmp_path / "bank")
    recipes = plan(bank, mode="paper", add=2, seed=3)
    theirs = plan(sent, mode="paper", add=2, seed=3)
    for i in range(len(recipes)):
        assert recipes.recipe(i) == theirs.recipe(i)
        assert np.array_equal(render(recipes.recipe(i), bank), render(theirs.recipe(i), sent))


def test_a_changed_picture_is_found_out(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank", self_contained="crops")
    sent = CellBank.load(tmp_path / "bank", check=True)
    one, other = sent.table.to_pylist()[:2]
    shutil.copyfile(sent.root / other["path"], sent.root / one["path"])
    with pytest.raises(ArtifactError, match="changed"):
        sent.cutout(one["cell_id"])


def test_an_image_that_changed_or_went_is_not_sent(tmp_path: Path) -> None:
    bank = drawn_bank(tmp_path, 1)
    paths = sorted(bank.root.rglob("*.png"))
    shutil.copyfile(paths[1], paths[0])
    with pytest.raises(ArtifactError, match=f"{paths[0].name}.*changed"):
        bank.save(tmp_path / "bank", self_contained=True)
    paths[0].unlink()
    with pytest.raises(ArtifactError, match=f"{paths[0].name}: no such file"):
        bank.save(tmp_path / "bank", self_contained=True)
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize("path", ["../outside.png", "/etc/hosts.png", "a/../../b.png", "..\\x.png"])
def test_no_path_leads_out_of_a_sent_bank(bank: CellBank, tmp_path: Path, path: str) -> None:
    n = bank.table.num_rows
    moved = bank.table.set_column(2, "path", pa.array([path] * n))
    away = CellBank(moved, bank.backgrounds, root=bank.root, labels=bank.labels)
    with pytest.raises(ArtifactError, match="leads out"):
        away.save(tmp_path / "bank", self_contained=True)
    assert not (tmp_path / "bank").exists()


def test_what_a_bank_may_hold_is_told(bank: CellBank, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="images, crops"):
        bank.save(tmp_path / "bank", self_contained="thumbnails")


def test_cells_of_a_moved_tree_are_found_by_content(tmp_path: Path) -> None:
    from naturalize.dataset.catalog import Catalog

    drawn_bank(tmp_path, 1)
    shutil.move(tmp_path / "images", tmp_path / "deep" / "images")
    bank = CellBank.build(tmp_path / "cells", Catalog.build(tmp_path / "deep"))
    assert all(path.startswith("images/") for path in bank.table["path"].to_pylist())
    assert bank.cutout(bank.cells()["cell_id"][0].as_py()).mask.any()


def test_every_cell_is_in_one_group_of_the_sheets(bank: CellBank, tmp_path: Path) -> None:
    for accepted in (True, False):
        table = bank.cells(accepted=accepted)
        groups = grouped(table, bank.labels)
        ids = [cell_id for rows in groups.values() for cell_id in rows["cell_id"].to_pylist()]
        assert sorted(ids) == sorted(table["cell_id"].to_pylist())
    assert list(grouped(bank.cells(), bank.labels)) == ["LY", "SNE", "red cells", "platelets"]
    assert list(grouped(bank.cells(accepted=False), bank.labels)) == [
        "red: touches the image border"
    ]
    bank.save(tmp_path / "bank")
    for name in ("sheet.jpg", "rejected.jpg"):
        assert read_image(tmp_path / "bank" / name).min() < 150


def test_one_cell_is_shown_three_times(bank: CellBank) -> None:
    picture = cell_picture(bank.cutout, bank.cells("wbc")["cell_id"][0].as_py(), side=100)
    assert picture.shape[1] > 3 * 100


def test_a_bank_says_how_it_was_counted(bank: CellBank, tmp_path: Path) -> None:
    bank.save(tmp_path / "bank")
    about = read_json(tmp_path / "bank" / "bank.json")
    assert about["holds"] is None
    assert about["counts"]["targets"] == {"LY": 2, "SNE": 2}
    assert read_table(tmp_path / "bank" / "cells.parquet")["solidity"].null_count == 0
