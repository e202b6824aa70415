"""What a user named, and what each command opens of it."""

from __future__ import annotations

import numpy as np
import pytest

from naturalize.base.artifacts import writing
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import write_image
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.inputs.compose import open_plan
from naturalize.inputs.compose import open_source as open_cells
from naturalize.inputs.images import open_source as open_images
from naturalize.inputs.kind import named
from naturalize.inputs.labelled import labelled_data
from naturalize.inputs.training import open_data


def tree(root, parts=("",), each=4):
    draw = np.random.default_rng(len(parts))
    for part in parts:
        for label in ("a", "b"):
            for i in range(each):
                path = root / part / label / f"{part}{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, draw.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    return root


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    catalog = Catalog.build(tree(folder / "images", each=8))
    catalog.save(folder / "catalog")
    Split.build(catalog, fractions=(0.5, 0.25, 0.25)).save(folder / "split")
    return folder


def test_what_is_named_has_one_kind(study, tmp_path):
    for name in ("1.PNG", "t.csv", "t.TSV", "m.npz", "notes.doc"):
        (tmp_path / name).write_bytes(b"")
    with writing(tmp_path / "composites", "images"):
        pass
    kinds = {
        "1.PNG": "image", "t.csv": "table", "t.TSV": "table", "m.npz": "archive",
        "notes.doc": "file", "composites": "images", ".": "folder",
    }  # fmt: skip
    assert {name: named(tmp_path / name, "x").kind for name in kinds} == kinds
    assert named(study, "x").kind == "study"
    assert named(study / "catalog", "x").kind == "catalog"
    assert named(study, "x").find("split") == study / "split"
    assert named(study / "split", "x").find("split") == study / "split"
    assert named(study, "x").find("bank") is None
    labelled = {"t.csv", "t.TSV", "m.npz", "composites", "."}
    assert {name for name in kinds if named(tmp_path / name, "x").labelled} == labelled


OPENERS = [
    lambda path, work: open_cells(path, work=work).__enter__(),
    lambda path, work: open_images(path),
    lambda path, work: labelled_data(path),
    lambda path, work: open_plan(path),
    lambda path, work: open_data(path),
]


@pytest.mark.parametrize("opens", OPENERS)
def test_nothing_there_is_said_with_what_is_needed(opens, tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such folder or file; name .*(images|plan)"):
        opens(tmp_path / "nowhere", tmp_path / "work")


@pytest.mark.parametrize("opens", [OPENERS[0], OPENERS[2], OPENERS[3]])
def test_another_artifact_is_said_to_be_one_with_its_command(opens, tmp_path):
    with writing(tmp_path / "e", "evaluation"):
        pass
    said = "e: is an evaluation written by `naturalize evaluate`; name "
    with pytest.raises(ArtifactError, match=said):
        opens(tmp_path / "e", tmp_path / "work")


def test_training_data_of_a_tree_is_cataloged_split_and_kept(tmp_path):
    root = tree(tmp_path / "images", parts=("Train", "Val", "Test"))
    data = open_data(root)
    assert data.new
    assert data.split.use == "given"
    assert data.inputs["split"] == data.split.fingerprint
    data.keep(tmp_path / "data")
    again = open_data(tmp_path / "data")
    assert not again.new
    assert again.inputs == data.inputs
    assert again.split.hash == data.split.hash


def test_of_a_tree_with_parts_the_part_is_evaluated_or_all(tmp_path):
    root = tree(tmp_path / "images", parts=("train", "test"))
    assert {item.path.split("/")[0] for item in labelled_data(root).items} == {"test"}
    assert len(labelled_data(root, part="all").items) == 16
    assert len(labelled_data(root, reader="class").items) == 16


def test_of_a_study_a_part_or_all(study):
    sizes = {part: len(labelled_data(study, part=part).items) for part in ("train", "test", "all")}
    assert sizes == {"train": 8, "test": 4, "all": 16}
