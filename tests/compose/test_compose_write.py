"""Rendered plans on disk: whole or not there, the same bytes however they were made, and true."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from compose_makers import make_bank, varied
from PIL import Image

from naturalize.base.artifacts import is_artifact, read_json
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver import (
    WRITERS,
    rendering,
    write,
)
from naturalize.compose.deliver import files as files_of
from naturalize.compose.deliver.annotation import BankAnnotation
from naturalize.compose.deliver.truth import truth
from naturalize.compose.draw.planner import plan
from naturalize.compose.paint.render import render
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Recipe


@pytest.fixture(scope="module")
def bank(tmp_path_factory) -> CellBank:
    return make_bank(tmp_path_factory.mktemp("bank"), per_class=2)


@pytest.fixture(scope="module")
def drawn(bank: CellBank) -> Plan:
    return varied(bank)


@pytest.fixture(scope="module")
def written(bank: CellBank, drawn: Plan, tmp_path_factory) -> dict[str, Path]:
    """What each writer makes of the same plan, with masks; PNG, so that pixels can be compared."""
    folder = tmp_path_factory.mktemp("written")
    return {
        name: write(drawn, bank, folder / name, name, format="png", masks=True, lineage={"a": 1})
        for name in WRITERS
    }


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(("name", "workers"), [("webdataset", 2), ("coco", 8)])
def test_workers_change_no_byte(  # of image folders: see test_compose_render
    name: str, workers: int, bank: CellBank, drawn: Plan, written: dict[str, Path], tmp_path: Path
) -> None:
    out = write(
        drawn, bank, tmp_path / name, name, format="png", masks=True, lineage={"a": 1},
        backend="processes", workers=workers,
    )  # fmt: skip
    assert files(out) == files(written[name])


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_writer_makes_an_artifact_with_its_plan(
    name: str, drawn: Plan, written: dict[str, Path]
) -> None:
    out = written[name]
    assert is_artifact(out, "images")
    assert Plan.load(out / "plan").ids == drawn.ids
    assert read_json(out / "plan" / "lineage.json") == {"a": 1}
    assert [p.name for p in out.parent.iterdir() if p.name.startswith(".")] == []


def test_masks_and_boxes_of_the_imagefolder_are_the_truth(
    bank: CellBank, drawn: Plan, written: dict[str, Path]
) -> None:
    out, annotation = written["imagefolder"], BankAnnotation(bank)
    rows = pq.read_table(out / "boxes.parquet").to_pylist()
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        name = f"{recipe.label}/{recipe.recipe_id}.png"
        wanted = truth(recipe, bank, annotation=annotation)
        with Image.open(out / "masks" / name) as mask:
            assert mask.mode == "I;16"
            np.testing.assert_array_equal(np.asarray(mask), wanted.instances)
        assert [row for row in rows if row["path"] == name] == [
            {
                "path": name,
                **{k: getattr(cell, k) for k in ("instance", "kind", "label", "cell_id")},
                **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
            }
            for cell in wanted.cells
        ]
    assert not (out / "masks" / "boxes.parquet").exists()


def test_without_masks_there_are_none(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    out = write(drawn, bank, tmp_path / "out", "imagefolder")
    assert sorted(p.name for p in out.iterdir()) == ["artifact.json", "images", "plan"]


def samples(shard: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Read a shard as WebDataset's readers do: neighbours whose names agree up to the first dot."""
    found: list[tuple[str, dict[str, bytes]]] = []
    with tarfile.open(shard) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            key, _, suffix = member.name.partition(".")
            if not found or found[-1][0] != key:
                found.append((key, {}))
            opened = tar.extractfile(member)
            assert opened is not None
            found[-1][1][suffix] = opened.read()
    return found


def test_shards_hold_the_plan(bank: CellBank, drawn: Plan, written: dict[str, Path]) -> None:
    out = written["webdataset"]
    about = read_json(out / "shards.json")
    assert about["labels"] == list(bank.labels)
    found = [s for shard in about["shards"] for s in samples(out / shard["file"])]
    assert [shard["samples"] for shard in about["shards"]] == [len(drawn)]
    assert sorted(key for key, _ in found) == sorted(drawn.ids)
    annotation = BankAnnotation(bank)
    recipes = {drawn.recipe(i).recipe_id: drawn.recipe(i) for i in range(len(drawn))}
    for key, sample in found:
        recipe = recipes[key]
        assert set(sample) == {"png", "cls", "json", "instances.png"}
        with Image.open(io.BytesIO(sample["png"])) as image:
            np.testing.assert_array_equal(np.asarray(image), render(recipe, bank))
        assert bank.labels[int(sample["cls"])] == recipe.label
        said = json.loads(sample["json"])
        assert (said["recipe_id"], said["label"]) == (key, recipe.label)
        assert said["parents"] == sorted(recipe.parents())
        wanted = truth(recipe, bank, annotation=annotation)
        with Image.open(io.BytesIO(sample["instances.png"])) as mask:
            np.testing.assert_array_equal(np.asarray(mask), wanted.instances)
        boxes = [tuple(cell["box"]) for cell in said["cells"]]
        assert boxes == [cell.box for cell in wanted.cells]


def blocks(shard: Path) -> int:
    """Return the bytes of a tar file without its end."""
    with tarfile.open(shard) as tar:
        return sum(512 + -(-member.size // 512) * 512 for member in tar)


def test_shards_are_bounded_and_shuffled(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    most = 2 * tarfile.RECORDSIZE
    out = write(drawn, bank, tmp_path / "out", "webdataset", quality=60, shard_bytes=most)
    shards = sorted((out / "shards").iterdir())
    assert len(shards) > 2
    assert all(shard.stat().st_size <= most for shard in shards)
    for shard, following in pairwise(shards):  # the next sample found no room
        _, first = samples(following)[0]
        more = sum(512 + -(-len(data) // 512) * 512 for data in first.values())
        assert blocks(shard) + more + 1024 > most
    order = [key for shard in shards for key, _ in samples(shard)]
    assert sorted(order) == sorted(drawn.ids)
    assert order != drawn.ids
    # a sample that is larger than a shard may be has one of its own
    alone = write(drawn, bank, tmp_path / "alone", "webdataset", shard_bytes=tarfile.RECORDSIZE)
    assert [len(samples(p)) for p in (alone / "shards").iterdir()] == [1] * len(drawn)


def test_coco_is_read_by_its_own_tools(
    bank: CellBank, drawn: Plan, written: dict[str, Path]
) -> None:
    coco_room = pytest.importorskip("pycocotools.coco")
    out, of_bank = written["coco"], BankAnnotation(bank)
    coco = coco_room.COCO(str(out / "annotations.json"))
    assert len(coco.imgs) == len(drawn)
    for i in range(len(drawn)):
        recipe = drawn.recipe(i)
        wanted = truth(recipe, bank, annotation=of_bank)
        image = coco.imgs[i + 1]
        pixels = read_image(out / "images" / image["file_name"])
        np.testing.assert_array_equal(pixels, render(recipe, bank))
        assert (image["height"], image["width"]) == pixels.shape[:2]
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[i + 1]))
        assert len(annotations) == len(wanted.cells)
        total = np.zeros(pixels.shape[:2], int)
        for annotation, cell in zip(annotations, wanted.cells, strict=True):
            mask = coco.annToMask(annotation)
            np.testing.assert_array_equal(mask > 0, wanted.instances == cell.instance)
            x0, y0, x1, y1 = cell.box
            assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["area"] == mask.sum()
            category = coco.cats[annotation["category_id"]]
            assert category["name"] == (cell.label or cell.kind)
            assert category["supercategory"] == cell.kind
            total += mask
        assert total.max(initial=0) <= 1


def test_coco_by_kind(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    out = write(drawn, bank, tmp_path / "out", "coco", categories="kind")
    about = read_json(out / "annotations.json")
    assert [c["name"] for c in about["categories"]] == ["wbc", "rbc", "platelet"]
    assert {a["category_id"] for a in about["annotations"]} == {1, 2}


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_size_is_composed(name: str, bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    few = Plan.of([drawn.recipe(0), drawn.recipe(len(drawn) - 1)], bank=bank.fingerprint)
    out = write(few, bank, tmp_path / name, name, format="png", masks=True, size=(64, 48))
    if name == "webdataset":
        ((key, sample), _) = samples(out / "shards" / "composites-000000.tar")
        image = np.asarray(Image.open(io.BytesIO(sample["png"])))
        recipe = few.recipe(few.ids.index(key))
    else:
        recipe = few.recipe(0)
        image = read_image(out / "images" / recipe.label / f"{recipe.recipe_id}.png")
    np.testing.assert_array_equal(image, render(recipe, bank, size=(64, 48)))


_KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from compose_makers import make_bank, varied
from naturalize.compose.deliver import rendering, write
folder, name = Path(sys.argv[2]), sys.argv[3]
painted, n = rendering.image_bytes, 0
def slow(*args, **kwargs):
    global n
    n += 1
    if n > 5:
        (folder / "late").touch()
        time.sleep(60)
    return painted(*args, **kwargs)
rendering.image_bytes = slow
bank = make_bank(folder / "bank", per_class=2)
more = {"shard_bytes": 60_000} if name == "webdataset" else {}
write(varied(bank), bank, folder / "out", name, masks=True, **more)
"""


@pytest.mark.parametrize("name", ["imagefolder", "webdataset"])
def test_a_killed_process_leaves_nothing_half_and_goes_on(
    name: str, bank: CellBank, drawn: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"shard_bytes": 60_000} if name == "webdataset" else {}
    wanted = files(write(drawn, bank, tmp_path / "whole", name, masks=True, **more))
    here = str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", _KILLED, here, str(tmp_path), name])
    try:
        until = time.monotonic() + 120
        while not (tmp_path / "late").exists():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "out").exists()

    painted, again = rendering.image_bytes, []

    def counts(*args, **kwargs):
        again.append(1)
        return painted(*args, **kwargs)

    monkeypatch.setattr(rendering, "image_bytes", counts)
    out = write(drawn, bank, tmp_path / "out", name, masks=True, **more)
    assert files(out) == wanted
    assert 0 < len(again) < len(drawn)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_full_disk_is_said_and_the_next_run_goes_on(
    name: str, bank: CellBank, drawn: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 60_000

    def full(write):
        def writes(self, data):
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, data)

        return writes

    with monkeypatch.context() as patch:
        if name == "webdataset":
            patch.setattr(tarfile, "copyfileobj", full_copy(tarfile.copyfileobj))
        else:
            patch.setattr(Path, "write_bytes", full(Path.write_bytes))
        with pytest.raises(NaturalizeError, match=r"no space left.*-o, and run it again"):
            write(drawn, bank, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()
    out = write(drawn, bank, tmp_path / "out", name)
    assert is_artifact(out, "images")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def full_copy(copy):
    """Return tarfile's copying of a file's bytes on a disk that fills up after the third."""
    n = iter(range(3))

    def copies(*args, **kwargs):
        if next(n, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(*args, **kwargs)

    return copies


def test_what_another_plan_left_is_not_taken(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    work = tmp_path / "work"
    recipe = drawn.recipe(1)
    stale = work / "images" / recipe.label / f"{recipe.recipe_id}.jpg"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of another plan, or another quality")
    (work / "key.json").write_text("another")
    out = write(drawn, bank, tmp_path / "out", "imagefolder", work=work)
    assert read_image(out / "images" / recipe.label / stale.name).shape == (363, 360, 3)


def test_a_damaged_shard_is_made_again(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    from naturalize.compose.deliver.webdataset import Shards

    whole = write(drawn, bank, tmp_path / "out", "webdataset", shard_bytes=60_000)
    shutil.copytree(whole / "shards", tmp_path / "shards")
    order = [key for p in sorted((whole / "shards").iterdir()) for key, _ in samples(p)]
    ends = [".jpg", ".cls", ".json"]
    first = tmp_path / "shards" / "composites-000000.tar"
    assert Shards(tmp_path / "shards", 60_000, order, ends).written == len(drawn)
    second = tmp_path / "shards" / "composites-000001.tar"
    second.write_bytes(second.read_bytes()[:700])
    assert Shards(tmp_path / "shards", 60_000, order, ends).written == len(samples(first))
    assert not second.exists()
    assert Shards(tmp_path / "shards", 60_000, order[::-1], ends).written == 0


def test_what_cannot_be_written_is_refused(bank: CellBank, drawn: Plan, tmp_path: Path) -> None:
    out, recipe = tmp_path / "out", drawn.recipe(0)
    for name in WRITERS:
        with pytest.raises(SettingsError, match=r"'jpg'.*png"):
            write(drawn, bank, out, name, format="jpg")
        with pytest.raises(SettingsError, match=f"writer {name}: quality: .*found 0"):
            write(drawn, bank, out, name, quality=0)
        with pytest.raises(SettingsError, match="size"):
            write(drawn, bank, out, name, size=(5, 0))
        with pytest.raises(SettingsError, match=r"unknown key 'qualty' \(did you mean 'quality'"):
            write(drawn, bank, out, name, qualty=90)
        with pytest.raises(InputError, match="nothing to render"):
            write(Plan.of([]), bank, out, name)
        with pytest.raises(InputError, match="1 recipes twice"):
            write(Plan.of([recipe, recipe]), bank, out, name)
    with pytest.raises(SettingsError, match=r"unknown writer 'imagefolders'.*'imagefolder'"):
        write(drawn, bank, out, "imagefolders")
    with pytest.raises(SettingsError, match="10240"):
        write(drawn, bank, out, "webdataset", shard_bytes=5)
    with pytest.raises(SettingsError, match="categories"):
        write(drawn, bank, out, "coco", categories="labels")
    for label in ("..", "a/b", " SNE", "a\\b", "", ". ."):
        with pytest.raises(InputError, match="folder"):
            write(Plan.of([replace(recipe, label=label)]), bank, out, "imagefolder")
    with pytest.raises(SettingsError, match="unknown class 'XYZ'"):
        write(Plan.of([replace(recipe, label="XYZ")]), bank, out, "webdataset")
    assert list(tmp_path.iterdir()) == []


def test_a_source_image_that_changed_is_told_with_its_class(drawn: Plan, tmp_path: Path) -> None:
    bank = make_bank(tmp_path / "bank", per_class=2)
    recipe = drawn.recipe(0)
    parent = bank.row(recipe.placements[0].cell_id)
    file = bank.root / parent["path"]
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match=rf"changed.*class {parent['label']}: 1 of"):
        write(drawn, bank, tmp_path / "out", "coco")
    file.unlink()
    with pytest.raises(ArtifactError, match="gone or have changed"):
        write(drawn, bank, tmp_path / "out", "imagefolder")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["scene", "layout"])
def test_a_sheet_shows_a_scene_once_where_there_are_others(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = make_bank(tmp_path / "bank", per_class=6, labels=("LY", "SNE"))
    drawn = plan(bank, mode=mode, add=40)
    shown: list[Recipe] = []
    picture = np.zeros((9, 9, 3), np.uint8)
    monkeypatch.setattr(files_of, "render", lambda recipe, _: shown.append(recipe) or picture)
    files_of.plan_sheet(drawn, bank)
    assert [recipe.label for recipe in shown] == ["LY"] * 4 + ["SNE"] * 4
    scenes = [recipe.background.background_id for recipe in shown]
    assert len(set(scenes)) == len(scenes)
    alone = Plan.of(shown[:1], bank=bank.fingerprint)
    files_of.plan_sheet(alone, bank)
    assert len(shown) == 9
