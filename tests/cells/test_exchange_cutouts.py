"""Cut-outs and shards: banks without source images, which can still be composed."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bank_makers import drawn_bank
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from naturalize.base.artifacts import is_artifact, read_manifest
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import content_hash
from naturalize.cells.bank import CellBank
from naturalize.cells.exchange import export, import_bank, import_cells
from naturalize.compose.deliver.files import plan_sheet
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> CellBank:
    return drawn_bank(tmp_path_factory.mktemp("cutouts"), overlap=True)


@pytest.fixture(scope="module")
def shards(bank: CellBank, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sent") / "shards"
    assert export(bank, out, cells=bank.table, shard_bytes=30_000)["shards"] > 2
    return out


def members(folder: Path) -> dict[str, bytes]:
    found = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                found[member.name] = tar.extractfile(member).read()
    return found


def write_shard(file: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


def test_any_reader_of_tar_files_opens_a_shard(bank: CellBank, shards: Path) -> None:
    files = members(shards)
    assert len(files) == 2 * bank.table.num_rows
    for row in bank.table.to_pylist():
        said = json.loads(files[f"{row['cell_id']}.json"])
        rgba = np.asarray(Image.open(io.BytesIO(files[f"{row['cell_id']}.png"])))
        cut = bank.cutout(row["cell_id"])
        x0, y0, x1, y1 = said["crop"]
        assert np.array_equal(rgba[y0:y1, x0:x1, 3] == 255, cut.mask)
        assert np.count_nonzero(rgba[..., 3]) == row["area"]
        assert np.array_equal(rgba[y0:y1, x0:x1, :3], cut.rgb)
        assert {k: said[k] for k in ("kind", "label", "x0", "reason")} == {
            k: row[k] for k in ("kind", "label", "x0", "reason")
        }


def test_shards_are_bounded_and_the_same_bytes_each_time(bank, shards: Path, tmp_path) -> None:
    export(bank, tmp_path / "again", cells=bank.table, shard_bytes=30_000)
    assert read_manifest(tmp_path / "again").files == read_manifest(shards).files
    biggest = max(len(data) for data in members(shards).values())
    for shard in shards.glob("*.tar"):
        assert shard.stat().st_size < 30_000 + biggest + 20_480  # one more cell and tar's padding
    with pytest.raises(SettingsError, match="shard_bytes"):
        export(bank, tmp_path / "zero", shard_bytes=0)


def test_what_is_in_shards_comes_back_whole(bank: CellBank, shards: Path, tmp_path: Path) -> None:
    back = CellBank.load(import_bank(shards, tmp_path / "bank"), check=True)
    assert back.labels == bank.labels
    assert back.part == bank.part
    moved = {"x0", "y0", "x1", "y1", "path"}
    for row in back.table.to_pylist():
        was = bank.row(row["cell_id"])
        assert {k: v for k, v in row.items() if k not in moved} == {
            k: v for k, v in was.items() if k not in moved
        }
        mine, its = (b.cutout(row["cell_id"]) for b in (bank, back))
        assert np.array_equal(mine.rgb, its.rgb)
        assert np.array_equal(mine.mask, its.mask)
    export(back, tmp_path / "again", cells=back.table, shard_bytes=30_000)
    for name, data in members(tmp_path / "again").items():
        if name.endswith(".png"):
            assert data == members(shards)[name]


def test_one_shard_alone_is_a_bank(shards: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.tar"
    alone.write_bytes(next(iter(sorted(shards.glob("*.tar")))).read_bytes())
    back = CellBank.load(import_bank(alone, tmp_path / "bank"))
    assert set(back.labels) <= {"LY", "SNE"}
    assert back.table.num_rows == len(members(alone.parent)) // 2


def changed(files: dict[str, bytes], stem: str, **what: object) -> None:
    files[f"{stem}.json"] = json.dumps(json.loads(files[f"{stem}.json"]) | what).encode()


def without(files: dict[str, bytes], stem: str, key: str) -> None:
    said = json.loads(files[f"{stem}.json"])
    files[f"{stem}.json"] = json.dumps({k: v for k, v in said.items() if k != key}).encode()


def bare(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, format="png")
    return buffer.getvalue()


SHARDS = {
    "has no partner": lambda f, s: f.pop(f"{s}.json"),
    "lacks kind": lambda f, s: without(f, s, "kind"),
    "not the JSON of a cell": lambda f, s: f.update({f"{s}.json": b"{"}),
    "its cell_id or crop": lambda f, s: changed(f, s, cell_id="../../x"),
    "leads out of the picture": lambda f, s: changed(f, s, crop=[0, 0, 900, 9]),
    "its JSON says 1": lambda f, s: changed(f, s, area=1),
    "another type": lambda f, s: changed(f, s, kind=5),
    "not an image that can be read": lambda f, s: f.update({f"{s}.png": b"no"}),
    "no transparency": lambda f, s: f.update({f"{s}.png": bare(9)}),
    "no cell": lambda f, _: f.clear(),
}


@pytest.mark.parametrize("said", SHARDS)
def test_a_shard_that_is_none_is_named(shards: Path, tmp_path: Path, said: str) -> None:
    files = dict(list(members(shards).items())[:4])
    SHARDS[said](files, next(iter(files)).partition(".")[0])
    file = write_shard(tmp_path / "x.tar", files)
    with pytest.raises(InputError, match=f"x.tar.*{said}"):
        import_bank(file, tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


def test_damaged_and_doubled_shards_are_named(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"no tar file")
    with pytest.raises(InputError, match=r"bad.tar: not a readable tar"):
        import_bank(tmp_path / "bad.tar", tmp_path / "bank")
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("a.tar", "b.tar"):
        write_shard(folder / name, dict(list(members(shards).items())[:2]))
    with pytest.raises(InputError, match="in the shards twice"):
        import_bank(folder, tmp_path / "bank")
    with pytest.raises(InputError, match="as a bank"):
        import_cells(shards, tmp_path / "cells")


def test_cut_outs_come_back_with_their_names(bank: CellBank, tmp_path: Path) -> None:
    export(bank, tmp_path / "rgba", format="rgba", cells=bank.table)
    names = {p.relative_to(tmp_path / "rgba").parent for p in (tmp_path / "rgba").rglob("*.png")}
    assert {n.as_posix() for n in names} == {"wbc/LY", "wbc/SNE", "rbc", "platelet"}
    back = CellBank.load(import_bank(tmp_path / "rgba", tmp_path / "bank", judge=False), check=True)
    assert back.labels == bank.labels
    for row in back.table.to_pylist():
        was = bank.row(row["cell_id"])
        same = ("image_id", "kind", "label", "target", "area", "solidity", "waist")
        assert {k: row[k] for k in same} == {k: was[k] for k in same}
        mine, its = (b.cutout(row["cell_id"]) for b in (bank, back))
        assert np.array_equal(mine.mask, its.mask)
        assert np.array_equal(mine.rgb[mine.mask], its.rgb[its.mask])
        assert not row["touches_border"]


@settings(max_examples=40, deadline=None)
@given(
    mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24)),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    soft=st.integers(0, 127),
)
def test_any_mask_survives_a_transparent_file(
    tmp_path_factory, mask: np.ndarray, colour, soft: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "in" / "Monocytes").mkdir(parents=True)
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., :3] = colour
    rgba[..., 3] = np.where(mask, 255, soft)
    Image.fromarray(rgba).save(folder / "in" / "Monocytes" / "cell.png")
    if mask.all() or not mask.any():
        with pytest.raises(InputError, match=r"cell\.png"):
            import_bank(folder / "in", folder / "bank")
        return
    bank = CellBank.load(import_bank(folder / "in", folder / "bank", judge=False))
    (row,) = bank.table.to_pylist()
    assert (row["kind"], row["label"], row["area"]) == ("wbc", "Monocytes", mask.sum())
    cut = bank.cutout(row["cell_id"])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert np.array_equal(cut.mask, mask[inside])
    assert np.array_equal(cut.rgb[cut.mask], rgba[..., :3][mask])
    file = (folder / "in" / "Monocytes" / "cell.png").read_bytes()
    assert row["image_id"] == content_hash(file)


def test_cut_outs_can_be_composed(bank: CellBank, tmp_path: Path) -> None:
    export(bank, tmp_path / "rgba", format="rgba")
    import_bank(tmp_path / "rgba", tmp_path / "bank", background=(250.0, 228.0, 205.0))
    cells = CellBank.load(tmp_path / "bank")
    recipes = plan(cells, mode="paper", classes=["LY"], add=2, seed=1)
    images = [render(recipes.recipe(i), cells) for i in range(len(recipes))]
    assert {image.shape for image in images} == {(363, 360, 3)}
    assert all((image != images[0][0, 0]).any() for image in images)
    assert plan_sheet(recipes, cells).shape[1] > 300


def cut_out(folder: Path, name: str, *, colour: int = 90, mode: str = "RGBA") -> Path:
    side = np.zeros((20, 20, 4), np.uint8)
    side[4:16, 5:17] = (colour, 60, 150, 255)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(side).convert(mode).save(file)
    return file


def test_folders_are_kinds_or_classes_as_they_are_called(tmp_path: Path) -> None:
    names = {
        "Red blood cells/a.png": ("rbc", None),
        "platelets/b.png": ("platelet", None),
        "PLT/c.png": ("platelet", "PLT"),
        "band_neutrophil/d.png": ("wbc", "band_neutrophil"),
        "platelet/platelet/e.png": ("platelet", "platelet"),
        "sickle/f.png": ("rbc", "sickle"),
        "rbc/target cells/g.png": ("rbc", "target cells"),
    }
    for i, name in enumerate(names):
        cut_out(tmp_path / "in", name, colour=10 * i)
    out = import_bank(tmp_path / "in", tmp_path / "bank", kinds={"sickle": "rbc"}, judge=False)
    bank = CellBank.load(out)
    found = sorted((row["kind"], row["label"] or "") for row in bank.table.to_pylist())
    assert found == sorted((kind, label or "") for kind, label in names.values())
    assert bank.labels == ("PLT", "band_neutrophil", "platelet", "sickle", "target cells")


def opaque(folder: Path) -> None:
    Image.new("RGBA", (9, 9), (1, 2, 3, 255)).save(folder / "LY" / "b.png")


def empty(folder: Path) -> None:
    Image.new("RGBA", (9, 9), (1, 2, 3, 90)).save(folder / "LY" / "b.png")


CUTOUTS = {
    "no transparency": lambda f: cut_out(f, "LY/b.png", mode="RGB"),
    "wholly opaque": opaque,
    "nothing in it is at least half opaque": empty,
    "not an image": lambda f: (f / "LY" / "b.png").write_bytes(b"no"),
    "--kind 'blob=wbc'": lambda f: cut_out(f, "blob/b.png", colour=3),
    "cell that is there in two folders": lambda f: cut_out(f, "MO/b.png"),
    "cell that is there twice": lambda f: cut_out(f, "LY/b.png"),
}


@pytest.mark.parametrize("said", CUTOUTS)
def test_a_cut_out_that_is_none_is_left_out_and_counted(tmp_path: Path, said: str, capsys) -> None:
    folder = tmp_path / "in"
    cut_out(folder, "LY/a.png")
    CUTOUTS[said](folder)
    out = import_bank(folder, tmp_path / "bank", format="rgba", judge=False)
    warned = " ".join(capsys.readouterr().err.split())
    assert warned.count("left out: 1 × ") == warned.count(said) == 1
    assert "b.png" in warned
    assert CellBank.load(out).table.num_rows == 1
    (folder / "LY" / "a.png").unlink()
    if "there" not in said:
        with pytest.raises(InputError, match=said):
            import_bank(folder, tmp_path / "none", format="rgba")
        assert not is_artifact(tmp_path / "none")


def test_workers_change_no_byte_of_a_bank_of_cut_outs(bank: CellBank, tmp_path: Path) -> None:
    export(bank, tmp_path / "rgba", format="rgba")
    import_bank(tmp_path / "rgba", tmp_path / "one")
    import_bank(tmp_path / "rgba", tmp_path / "two", backend="processes", workers=2)
    one, two = (read_manifest(tmp_path / name) for name in ("one", "two"))
    assert one == two
