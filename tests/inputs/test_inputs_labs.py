"""Several laboratories: whose classes are whose, what is left out, and the command as a whole."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score

import naturalize as nz
from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.base.images import content_hash, write_image
from naturalize.cli.app import run_app
from naturalize.dataset.schemes import meaning
from naturalize.inputs.labs import open_labs
from naturalize.prediction.probe import fit_probe

CLASSES = ("BNE", "EO", "LY", "SNE")
MODELS = {"model": CLASSES}


def picture(seed: int, side: int = 40) -> np.ndarray:
    """A picture unlike any other: RGB uint8."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((side // 8, side // 8, 1), np.uint8))


def write_lab(root: Path, counts: dict[str, int], seed: int) -> Path:
    for k, (label, n) in enumerate(counts.items()):
        for i in range(n):
            write_image(root / label / f"{i}.png", picture(1000 * seed + 100 * k + i))
    return root


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two laboratories that call their classes otherwise; the second has no eosinophil."""
    one = write_lab(tmp_path / "one", {"Neutrophil": 6, "EOS": 4, "lymphocytes": 5}, 1)
    return one, write_lab(tmp_path / "two", {"BNE": 4, "SNE": 4, "LYM": 4}, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from naturalize.models.folder import save_model
    from naturalize.models.zoo import build

    torch.manual_seed(0)
    network = build("custom_cnn", CLASSES, weights="none", input_size=32)
    path = tmp_path_factory.mktemp("model") / "tiny"

    def also(folder: Path) -> None:
        (folder / "training_images.txt").write_text("")

    return save_model(path, network.module, network.config, protocol="honest", also=also)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("NEU", "BNE SNE"), ("Neutrophils", "BNE SNE"), ("band_neutrophil", "BNE"),
        ("Segmented Neutrophil", "SNE"), ("BAS", "BA"), ("EOS", "EO"), ("Monocyte", "MO"),
        ("ig", "MMY MY PMY"), ("platelets", "PLT"), ("erythroblast", "ERB"), ("blast", ""),
        ("", ""), ("s", ""),
    ],
)  # fmt: skip
def test_usual_names_are_known(name: str, codes: str) -> None:
    assert sorted(meaning(name)) == codes.split()


def test_classes_are_matched_and_the_absent_is_named(two: tuple[Path, Path]) -> None:
    one, other = open_labs(two, MODELS)
    assert one.merges["model"].classes == {
        "EOS": ("EO",), "Neutrophil": ("BNE", "SNE"), "lymphocytes": ("LY",),
    }  # fmt: skip
    assert other.merges["model"].classes == {"BNE": ("BNE",), "LYM": ("LY",), "SNE": ("SNE",)}
    assert other.absent == ["EO", "BNE+SNE"]
    assert (one.n_images, len(one.items), len(other.items)) == (15, 15, 12)


def test_a_map_is_for_one_laboratory_or_for_all(two: tuple[Path, Path]) -> None:
    one, other = open_labs(two, MODELS, maps=["one:EOS=EO+LY", "LYM=LY", "one:lymphocytes=BNE,"
                                              "Neutrophil=SNE"])  # fmt: skip
    assert one.merges["model"].classes["EOS"] == ("EO", "LY")
    assert other.merges["model"].classes["LYM"] == ("LY",)


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        ("three:LYM=LY", "no laboratory is called 'three'"),
        ("LYM=XX", "XX"),
        ("LYM", "--map"),
    ],
)
def test_maps_that_cannot_be_are_refused(two: tuple[Path, Path], maps: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        open_labs(two, MODELS, maps=maps)


def test_two_classes_that_would_be_one_ask_for_a_map(tmp_path: Path) -> None:
    root = write_lab(tmp_path / "lab", {"BNE": 2, "NEU": 2}, 1)
    with pytest.raises(SettingsError, match="--map lab:NEU="):
        open_labs([root], MODELS)


def test_folders_that_are_no_laboratory_are_refused(tmp_path: Path) -> None:
    strange = write_lab(tmp_path / "strange", {"cat": 2, "dog": 2}, 1)
    with pytest.raises(InputError, match="none of its classes"):
        open_labs([strange], MODELS)
    write_image(tmp_path / "flat" / "a.png", picture(0))
    with pytest.raises(InputError, match="flat"):
        open_labs([tmp_path / "flat"], MODELS)
    with pytest.raises(InputError, match="named twice"):
        open_labs([strange, strange / ".." / "strange"], MODELS)
    with pytest.raises(InputError, match="name one laboratory"):
        open_labs([], MODELS)


def test_folders_of_one_name_are_named_by_what_they_lie_in(tmp_path: Path) -> None:
    roots = [write_lab(tmp_path / lab / "images", {"LY": 2, "EO": 2}, i)
             for i, lab in enumerate(("a", "b"))]  # fmt: skip
    assert [lab.name for lab in open_labs(roots, MODELS)] == ["a-images", "b-images"]


def test_what_was_seen_before_is_left_out_and_counted(two: tuple[Path, Path]) -> None:
    one, other = two
    shutil.copy(one / "EOS/0.png", one / "EOS/copy.png")  # the same file, the same class
    shutil.copy(one / "EOS/1.png", one / "lymphocytes/also.png")  # two classes
    shutil.copy(one / "lymphocytes/0.png", other / "LYM/theirs.png")  # in both laboratories
    write_image(other / "LYM/near.jpg", picture(2200), quality=90)  # of LYM/0.png
    (other / "LYM/torn.png").write_bytes(b"\x89PNG\r\n")
    write_lab(other, {"blast": 2}, 9)
    first, second = open_labs(two, MODELS)
    assert first.described()["left_out"] == {"contradicting": 2, "duplicate": 1}
    assert second.described()["left_out"] == {
        "duplicate": 1, "near duplicate": 1, "unknown class": 2, "unreadable": 1,
    }  # fmt: skip
    assert (len(first.items), first.n_images) == (14, 17)
    assert (len(second.items), second.n_images) == (12, 17)
    reasons = {entry.path: entry.detail for entry in second.apart}
    assert reasons["LYM/theirs.png"] == "one/lymphocytes/0.png"
    kept = open_labs(two, MODELS, keep=True)[1]
    assert len(kept.items) == 14
    assert kept.described()["exposed"] == {"trained on": 0, "duplicate": 1, "near duplicate": 1}


def test_a_laboratory_that_holds_the_images_of_another_is_refused(tmp_path: Path) -> None:
    one = write_lab(tmp_path / "one", {"LY": 3, "EO": 3}, 1)
    shutil.copytree(one, tmp_path / "again")
    with pytest.raises(InputError, match=r"again: nothing is left.*--keep-exposed"):
        open_labs([one, tmp_path / "again"], MODELS)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_the_command_writes_scores_that_follow_from_the_answers(
    two: tuple[Path, Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run_app_ok(["labs", *map(str, two), "-m", str(model), "-o", str(out), "--resamples", "100",
                "--engine", "serial"])  # fmt: skip
    printed = capsys.readouterr()
    found = read_json(out / "labs.json")
    for name in ("one", "two"):
        table = pq.read_table(out / f"predictions/tiny/{name}.parquet").to_pydict()
        entry = found["models"]["tiny"]["laboratories"][name]
        expected = balanced_accuracy_score(table["label"], table["predicted"])
        score = entry["mixes"]["as found"]["scores"]["balanced_accuracy"]
        assert score["value"] == pytest.approx(expected)
        assert score["interval"][0] <= expected <= score["interval"][1]
        assert f"{expected:.3f}" in printed.out
    mean = found["models"]["tiny"]["overall"]["as found"]
    each = [lab["mixes"]["as found"]["scores"]["balanced_accuracy"]["value"]
            for lab in found["models"]["tiny"]["laboratories"].values()]  # fmt: skip
    assert mean["mean"]["balanced_accuracy"]["value"] == pytest.approx(np.mean(each))
    assert mean["worst"]["balanced_accuracy"]["value"] == min(each)
    assert "two: has no EO" in printed.err
    rows = list(csv.DictReader((out / "labs.csv").open()))
    assert {row["laboratory"] for row in rows} == {"one", "two", "mean"}
    for file in ("balanced_accuracy.svg", "risk_coverage.svg", "reliability-one.svg"):
        assert (out / file).stat().st_size > 1000


def run_app_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_app(arguments)
    assert not end.value.code


def test_a_probe_stands_beside_the_model_and_its_training_images_are_left_out(
    two: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    train = write_lab(tmp_path / "train", {"BNE": 5, "EO": 5, "LY": 5, "SNE": 5}, 5)
    shutil.copy(train / "EO/0.png", two[0] / "EOS/seen.png")
    found = nz.labs(two, tmp_path / "out", model, encoders=["custom_cnn"], probe="knn",
                    train=train, weights="none", resamples=100)  # fmt: skip
    assert list(found["models"]) == ["tiny", "custom_cnn, k-NN"]
    assert found["laboratories"]["one"]["exposed"]["trained on"] == 1
    ns = [lab["n"] for each in found["models"].values() for lab in each["laboratories"].values()]
    assert ns == [15, 12, 15, 12]


def test_images_that_the_model_was_trained_on_are_left_out(
    two: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    known = shutil.copytree(model, tmp_path / "known")
    name = content_hash((two[0] / "EOS/0.png").read_bytes())
    (known / "training_images.txt").write_text(f"{name}\n")
    left = nz.labs(two, tmp_path / "out", known, resamples=100)["laboratories"]["one"]
    kept = nz.labs(two, tmp_path / "kept", known, resamples=100, keep_exposed=True)
    assert (left["n"], left["left_out"]) == (14, {"trained on": 1})
    assert (kept["laboratories"]["one"]["n"], kept["laboratories"]["one"]["left_out"]) == (15, {})


def test_one_image_is_scored_and_said_to_be_too_few(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_lab(tmp_path / "lab", {"LY": 1}, 1)
    run_app_ok(["labs", str(root), "-m", str(model), "-o", str(tmp_path / "out"), "--resamples",
                "100", "--engine", "serial"])  # fmt: skip
    assert "too few" in capsys.readouterr().err


def test_encoders_and_training_images_need_each_other(
    two: tuple[Path, Path], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="--train"):
        nz.labs(two, tmp_path / "out", model, encoders=["resnet18"])
    with pytest.raises(SettingsError, match="--encoder"):
        nz.labs(two, tmp_path / "out", model, train=two[0])
    with pytest.raises(SettingsError, match="choose from: linear, knn"):
        fit_probe("custom_cnn", [(two[0] / "EOS/0.png", "EO")], None, how="forest")
    with pytest.raises(InputError, match="two classes"):
        fit_probe("custom_cnn", [(two[0] / "EOS/0.png", "EO")], None, weights="none")


def test_what_another_command_wrote_is_not_replaced(two: tuple[Path, Path], model: Path) -> None:
    with pytest.raises(ArtifactError, match="overwrite"):
        nz.labs(two, model, model, resamples=100)


def test_phantom_laboratories_and_an_image_without_a_cell(
    phantom_root: Path, tmp_path: Path
) -> None:
    """With the shipped model: of an empty image the answer is that there is no cell."""
    source = sorted((phantom_root / "images").rglob("LY_*"))[:2]
    source += sorted((phantom_root / "images").rglob("EO_*"))[:2]
    for file in source:
        label = {"LY": "Lymphocyte", "EO": "Eosinophil"}[file.name.partition("_")[0]]
        (tmp_path / "lab" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "lab" / label / file.name)
    empty = np.full((200, 220, 3), (235, 225, 230), np.uint8)
    write_image(tmp_path / "lab/Eosinophil/empty.png", empty)
    found = nz.labs([tmp_path / "lab"], tmp_path / "out", resamples=100)
    entry = found["models"]["pbc11"]["laboratories"]["lab"]
    assert entry["n"] == 5
    assert entry["n_no_cell"] >= 1
    assert entry["per_class"]["Eosinophil"]["recall"] <= 2 / 3
