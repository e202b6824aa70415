"""The commands, and what DATA may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import write_image
from naturalize.cli.compare import compare
from naturalize.cli.evaluate import evaluate
from naturalize.cli.explain import explain
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.evaluation.evaluate import read_metrics
from naturalize.evaluation.predictions import read_predictions
from naturalize.inputs.labelled import labelled_data

LABELS = ["eosinophil", "lymphocyte", "monocyte"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images of each of 3 classes, and one that cannot be read."""
    root = tmp_path_factory.mktemp("tree") / "images"
    draw = np.random.default_rng(0)
    for k, label in enumerate(LABELS):
        for i in range(12):
            image = draw.integers(0, 120, (40, 40, 3)).astype(np.uint8)
            image[10:30, 10:30, k] = 220
            write_image(root / label / f"{i}.png", image)
    (root / LABELS[0] / "torn.png").write_bytes(b"\x89PNG\r\n")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    torch.manual_seed(0)
    network = build("custom_cnn", LABELS, weights="none", input_size=32)
    path = tmp_path_factory.mktemp("model") / "model"
    return save_model(path, network.module, network.config, protocol="honest")


@pytest.fixture(scope="module")
def study(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    catalog = Catalog.build(tree)
    catalog.save(folder / "catalog")
    Split.build(catalog, fractions=(0.5, 0.25, 0.25)).save(folder / "split")
    return folder


def test_of_a_study_only_the_held_out_part_is_taken(study: Path) -> None:
    split = Split.load(study / "split")
    data = labelled_data(study)
    assert sorted(item.image_id for item in data.items) == sorted(split.ids("test"))
    assert all(item.group for item in data.items)
    assert set(data.inputs) == {"catalog", "split"}
    train = labelled_data(study, part="train")
    assert not {i.image_id for i in train.items} & {i.image_id for i in data.items}


def test_of_a_tree_and_its_catalog_all_is_taken_and_the_unreadable_kept_in_view(
    tree: Path, study: Path
) -> None:
    data = labelled_data(tree)
    assert len(data.items) == 37
    assert "eosinophil/torn.png" in [item.path for item in data.items]
    assert labelled_data(study / "catalog").items == data.items


def test_moved_images_are_missed_and_found(tree: Path, tmp_path: Path) -> None:
    catalog = Catalog.build(tree)
    catalog.root = tmp_path / "gone"
    catalog.save(tmp_path / "catalog")
    with pytest.raises(InputError, match="say where with --root"):
        labelled_data(tmp_path / "catalog")
    assert labelled_data(tmp_path / "catalog", root=tree).root == tree.resolve()


def test_nothing_to_evaluate_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        labelled_data(tmp_path / "nowhere")


def test_evaluate_prints_scores_with_intervals(
    model: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(model, tree, tmp_path / "out", engine="serial")
    result = read_metrics(tmp_path / "out")
    assert result["n"] == 36
    assert result["skipped"][0]["path"] == "eosinophil/torn.png"
    assert (result["model"], result["protocol"]) == ("custom_cnn", "honest")
    printed = capsys.readouterr().out
    for word in ("macro f1", f"{result['macro_f1']:.3f}", "Wilson", *LABELS):
        assert word in printed


def test_evaluating_a_study_twice_compares_as_equal(
    model: Path, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        evaluate(model, study, tmp_path / name)
    assert read_predictions(tmp_path / "a").num_rows == 9
    compare(tmp_path / "a", tmp_path / "b", out=tmp_path / "difference.json")
    printed = capsys.readouterr()
    assert "+0.000 to +0.000" in printed.out
    assert "McNemar p = 1" in printed.err
    written = json.loads((tmp_path / "difference.json").read_text())
    assert written["scores"]["macro_f1"]["difference"] == 0


def test_explain_writes_overlays(model: Path, tree: Path, tmp_path: Path) -> None:
    explain(model, [tree / LABELS[1]], tmp_path / "why", method=["grad-cam"], limit=3)
    entries = json.loads((tmp_path / "why" / "explanations.json").read_text())
    assert len(entries) == 3
    assert all((tmp_path / "why" / "overlays" / entry["overlay"]).is_file() for entry in entries)


def test_explain_takes_every_channel_when_asked(model: Path, tree: Path, tmp_path: Path) -> None:
    for name, channels in (("all", 0), ("many", 4096)):
        explain(
            model, [tree / LABELS[1] / "0.png"], tmp_path / name, method=["score-cam"],
            channels=channels,
        )  # fmt: skip
    maps = [np.load(tmp_path / name / "maps.npz") for name in ("all", "many")]
    (key,) = maps[0].files
    np.testing.assert_array_equal(maps[0][key], maps[1][key])


def test_other_artifacts_are_refused(model: Path, study: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is a catalog; expected a model"):
        evaluate(study / "catalog", study, tmp_path / "out")
    with pytest.raises(ArtifactError, match="is a model; expected an evaluation"):
        compare(model, model)


def test_a_model_of_other_classes_is_told_apart(model: Path, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "basophil").mkdir(parents=True)
    write_image(tmp_path / "more" / "basophil" / "0.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"basophil \(1\).*knows eosinophil"):
        evaluate(model, tmp_path / "more", tmp_path / "out", engine="serial")
