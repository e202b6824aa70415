"""``naturalize evaluate`` on trees that the model was not made for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, InputError, NaturalizeError, SettingsError
from naturalize.base.images import content_hash, write_image
from naturalize.cli.evaluate import evaluate, remarks
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.schemes import SCHEMES
from naturalize.evaluation import metrics
from naturalize.evaluation.evaluate import read_metrics
from naturalize.evaluation.predictions import read_predictions
from naturalize.inputs.labelled import labelled_data

ELEVEN = SCHEMES["pbc11"].labels or ()
FIVE = "Neutrophil=BNE+SNE,Eosinophil=EO,Lymphocyte=LY,Monocyte=MO,Basophil=BA"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the eleven classes."""
    import torch

    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    torch.manual_seed(1)
    network = build("custom_cnn", ELEVEN, weights="none", input_size=32)
    path = tmp_path_factory.mktemp("model") / "model"
    return save_model(path, network.module, network.config, protocol="honest")


def run(*arguments: object) -> str:
    """Run the command, serially, let its errors out, and return what it printed."""
    app = typer.Typer()
    app.command()(evaluate)
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(app, [*words, "--engine", "serial"], catch_exceptions=False).output


def check_against_scikit_learn(out: Path) -> None:
    """Compare all of ``metrics.json`` with what scikit-learn makes of the predictions."""
    from sklearn import metrics as oracle

    result, table = read_metrics(out), read_predictions(out)
    true, predicted = table["label"].to_pylist(), table["predicted"].to_pylist()
    names = [n.removeprefix("prob_") for n in table.column_names if n.startswith("prob_")]
    shares = np.stack([table[f"prob_{name}"].to_numpy() for name in names], axis=1)
    assert predicted == [names[i] for i in shares.argmax(axis=1)]
    present = [name for name in names if name in set(true)]
    each = oracle.precision_recall_fscore_support(true, predicted, labels=names, zero_division=0)
    for i, name in enumerate(names):
        row = result["per_class"][name]
        found = [row[what] for what in ("precision", "recall", "f1", "support")]
        np.testing.assert_allclose(found, [column[i] for column in each])
    macro = oracle.precision_recall_fscore_support(
        true, predicted, labels=present, average="macro", zero_division=0
    )[:3]
    whole = [result[f"macro_{what}"] for what in ("precision", "recall", "f1")]
    np.testing.assert_allclose(whole, macro)
    np.testing.assert_allclose(
        [result["accuracy"], result["balanced_accuracy"]],
        [
            oracle.accuracy_score(true, predicted),
            oracle.recall_score(true, predicted, labels=present, average="macro", zero_division=0),
        ],
    )
    expected = oracle.confusion_matrix(true, predicted, labels=names)
    np.testing.assert_array_equal(result["confusion"], expected)
    right = np.array([t == p for t, p in zip(true, predicted, strict=True)])
    assert result["calibration"]["accuracy"] == pytest.approx(right.mean())
    assert result["calibration"]["mean_confidence"] == pytest.approx(shares.max(axis=1).mean())


def test_a_tree_of_named_files_is_scored_over_all_eleven(
    model: Path, phantom_root: Path, tmp_path: Path
) -> None:
    said = run(model, phantom_root, "--scheme", "pbc11", "-o", tmp_path / "out")
    result = read_metrics(tmp_path / "out")
    assert (result["n"], result["absent"], result["merged"]) == (66, [], None)
    assert all(row["support"] == 6 for row in result["per_class"].values())
    check_against_scikit_learn(tmp_path / "out")
    assert all(name in said for name in ELEVEN)


def test_a_broader_scheme_is_reached_by_a_map(
    model: Path, phantom_root: Path, tmp_path: Path
) -> None:
    eight = (
        "basophil=BA,eosinophil=EO,erythroblast=ERB,ig=MMY+MY+PMY,lymphocyte=LY,monocyte=MO,"
        "neutrophil=BNE+SNE,platelet=PLT"
    )
    said = run(
        model, phantom_root, "--scheme", "pbc8", "--map", eight, "-o", tmp_path / "out"
    )  # fmt: skip
    result = read_metrics(tmp_path / "out")
    assert {name: row["support"] for name, row in result["per_class"].items()} == {
        "basophil": 6, "neutrophil": 12, "eosinophil": 6, "erythroblast": 6, "lymphocyte": 6,
        "ig": 18, "monocyte": 6, "platelet": 6,
    }  # fmt: skip
    check_against_scikit_learn(tmp_path / "out")
    assert "ig = MMY + MY + PMY" in said


@pytest.fixture
def few(phantom_root: Path, tmp_path: Path) -> Path:
    """Three of the eleven classes, a class of its own, a torn file, a copy, a stray file."""
    root = tmp_path / "few"
    for label in ("LY", "MO", "SNE"):
        (root / label).mkdir(parents=True)
        for file in sorted((phantom_root / "images").rglob(f"{label}_*.jpg")):
            shutil.copy(file, root / label / file.name)
    shutil.copy(file, root / "SNE" / "copy.jpg")
    write_image(root / "blast" / "0.png", np.full((50, 50, 3), 90, np.uint8))
    (root / "LY" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "notes.txt").write_text("stained on Monday")
    return root


def test_a_picture_with_two_classes_is_not_scored(model: Path, few: Path, tmp_path: Path) -> None:
    one = min((few / "MO").iterdir())
    shutil.copy(one, few / "LY" / "again.jpg")
    said = run(model, few, "--drop-unknown", "-o", tmp_path / "out")
    result = read_metrics(tmp_path / "out")
    assert (result["n"], result["n_contradicting"]) == (17, 2)
    assert "2 file(s) show a picture that has two classes" in said
    for label in ("A", "B"):
        (tmp_path / "two" / label).mkdir(parents=True)
        shutil.copy(one, tmp_path / "two" / label / "x.jpg")
    with pytest.raises(InputError, match="each picture has two classes"):
        run(model, tmp_path / "two", "-o", tmp_path / "none")


def test_what_is_not_scored_is_counted_and_said(model: Path, few: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"blast \(1\).*--scheme.*--map.*--drop-unknown"):
        run(model, few, "-o", tmp_path / "out")
    said = run(model, few, "--drop-unknown", "-o", tmp_path / "out")
    result = read_metrics(tmp_path / "out")
    assert (result["n"], result["n_skipped"], result["n_copies"]) == (18, 1, 1)
    assert result["skipped"][0]["path"] == "LY/torn.jpg"
    assert result["dropped_labels"] == {"blast": 1}
    check_against_scikit_learn(tmp_path / "out")
    assert "notes.txt" in [row["path"] for row in result["passed_over"]]
    for words in ("LY/torn.jpg", "blast (1)", "scored once", "not in the data", "passed over"):
        assert words in said


def test_answers_that_name_no_class_of_the_data_are_counted() -> None:
    result = metrics.scores(["BA", "EO", "LY"], ["BA", "BA", "EO"], ["LY", "BA", "LY"])
    about = {"interval_method": "method", "convention": "convention", "merged": None}
    assert remarks({**result, **about})[-1].startswith("2 of 3 images were taken for a class")
    result = metrics.scores(["BA", "EO"], ["BA", "EO"] * 2, ["EO", "BA"] * 2)
    assert remarks({**result, **about}) == ["method; convention"]


def test_a_class_that_the_scheme_drops_is_said_too(tmp_path: Path) -> None:
    for folder in ("lymphocyte", "neutrophil", "Monocyte"):  # pbc11: of which kind of neutrophil?
        for i in range(2):
            image = np.full((20, 20, 3), 50 * i + 5 * len(folder), np.uint8)
            write_image(tmp_path / "images" / folder / f"{i}.png", image)
    data = labelled_data(tmp_path / "images", scheme="pbc11")
    assert {item.label for item in data.items} == {"LY", "MO"} == set(data.labels)
    assert data.left_out["dropped_labels"] == {"neutrophil": 2}


@pytest.mark.real
def test_crops_of_another_laboratory(model: Path, real_data: Path, tmp_path: Path) -> None:
    tree = tmp_path / "crops"
    for folder in sorted((real_data / "external" / "bccd_crops").iterdir()):
        (tree / folder.name).mkdir(parents=True)
        for file in sorted(folder.iterdir())[:4]:
            shutil.copy(file, tree / folder.name / file.name)
    results = {}
    for name, more in (("kept", []), ("only", ["--only-mapped"])):
        said = run(model, tree, "--map", FIVE, *more, "-o", tmp_path / name)
        assert "Neutrophil = BNE + SNE" in said
        check_against_scikit_learn(tmp_path / name)
        results[name] = read_metrics(tmp_path / name)
    assert results["only"]["n"] == results["kept"]["n"] == 19  # there are three basophils
    assert len(results["kept"]["labels"]) == 10
    assert sorted(results["only"]["labels"]) == sorted(p.name for p in tree.iterdir())
    assert results["only"]["balanced_accuracy"] >= results["kept"]["balanced_accuracy"]


def test_a_model_is_found_by_its_name(
    model: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from naturalize.inputs import labelled

    monkeypatch.setattr(labelled, "find", lambda name: model if name == "pbc11" else Path(name))
    run("pbc11", few, "--drop-unknown", "-o", tmp_path / "out")
    assert read_manifest(tmp_path / "out").inputs["model"] == read_manifest(model).fingerprint
    with pytest.raises(ArtifactError, match="pbc12"):
        run("pbc12", few, "-o", tmp_path / "other")


def test_images_that_the_model_was_trained_on_are_counted_and_can_be_left_out(
    model: Path, few: Path, tmp_path: Path
) -> None:
    run(model, few, "--drop-unknown", "-o", tmp_path / "before")
    assert read_metrics(tmp_path / "before")["n_trained_on"] == 0
    ids = read_predictions(tmp_path / "before")["image_id"].to_pylist()
    files = {content_hash(path.read_bytes()) for path in few.rglob("*") if path.is_file()}
    assert set(ids) <= files
    own = tmp_path / "own"
    shutil.copytree(model, own)
    (own / "training_images.txt").write_text("\n".join(ids[:3]) + "\n")
    said = run(own, few, "--drop-unknown", "-o", tmp_path / "all")
    assert "trained on 3 of these" in said
    assert read_metrics(tmp_path / "all")["n_trained_on"] == 3
    run(own, few, "--drop-unknown", "--leave-out-training", "-o", tmp_path / "less")
    kept = read_predictions(tmp_path / "less")["image_id"].to_pylist()
    assert kept == ids[3:]
    assert read_metrics(tmp_path / "less")["n_left_out_training"] == 3
    (own / "training_images.txt").write_text("\n".join(files) + "\n")
    with pytest.raises(InputError, match="trained on all of these"):
        run(own, few, "--drop-unknown", "--leave-out-training", "-o", tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--map", "LY"], SettingsError, "such as Neutrophil=BNE"),
        (["--map", "N=XX"], SettingsError, "class of the model in --map 'XX'"),
        (["--only-mapped"], SettingsError, "say with --map"),
        (["--scheme", "pbc12"], SettingsError, "did you mean 'pbc11'"),
        (["--map", "N=BNE", "--only-mapped"], InputError, "it knows N"),
    ],
)
def test_mistakes_leave_nothing(
    model: Path,
    few: Path,
    tmp_path: Path,
    arguments: list[str],
    error: type[NaturalizeError],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        run(model, few, *arguments, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken_is_refused_before_a_tree_is_read(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")

    def refuse(*_arguments: object, **_settings: object) -> None:
        raise AssertionError("a tree was read")

    monkeypatch.setattr(Catalog, "build", refuse)
    with pytest.raises(ArtifactError, match="did not write"):
        run(model, tmp_path, "-o", tmp_path / "mine")
