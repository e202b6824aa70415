"""Whatever a user names becomes a review, and a person's work is never lost."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks._review import synthetic_review

from naturalize.base.artifacts import read_manifest, replacing, write_table, writing
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.dataset.phantom import render_phantom
from naturalize.models.shipped import find
from naturalize.prediction.files import Prediction
from naturalize.prediction.table import write_predictions
from naturalize.review.service.intake.added import add_files
from naturalize.review.service.intake.naming import name_cells
from naturalize.review.service.intake.prepare import held, make
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

ME = Actor("me", "admin")
CLASSES = ("BNE", "SNE", "PLT")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of three images beside it, of which one is missing."""
    for name in ("a", "b"):
        write_image(tmp_path / "lab" / f"{name}.jpg", np.full((100, 120, 3), 200, np.uint8))
    rows = [
        Prediction(Path(f"{name}.jpg"), "SNE", 0.9, np.array([0.1, 0.9, 0], np.float32))
        for name in ("a", "b", "gone")
    ]
    write_predictions(tmp_path / "lab" / "monday.csv", CLASSES, rows)
    return tmp_path / "lab" / "monday.csv"


def test_a_table_becomes_a_review_with_all_that_it_says(table: Path, tmp_path: Path) -> None:
    folder = make([table], tmp_path / "review", target=200)
    manifest = read_manifest(folder, "review")
    assert manifest.settings["cells"] == 3
    assert "review.db" not in manifest.files  # it changes with every click
    review = Review.open(folder)
    settings = review.settings
    assert (settings.root, settings.target, settings.input) == (
        str(table.parent),
        200,
        "predictions",
    )
    assert settings.classes == list(CLASSES)
    assert settings.bins == ["SNE", "BNE", "PLT"]
    assert settings.shown == 80  # of the shorter side of 100 pixels
    assert not settings.heat  # the shipped model has other classes
    row = review.row(1)
    assert (row.path, row.model_label) == ("a.jpg", "SNE")
    assert row.doubt == pytest.approx(0.2, abs=1e-5)
    assert review.row(3).taken is None
    assert sorted(review.row(i).rank for i in (1, 2, 3)) == [0, 1, 2]
    review.close()


def test_images_of_one_cell_get_a_size_and_others_none(tmp_path: Path) -> None:
    radii = {"small": 20, "large": 50, "blank": 0, "middle": 34}
    for name, radius in radii.items():
        image = np.full((200, 200, 3), (236, 226, 230), np.uint8)
        for share, colour in ((1.0, (182, 172, 220)), (0.6, (92, 58, 140))):
            if radius:
                cv2.circle(image, (100, 100), round(share * radius), colour, -1, cv2.LINE_AA)
        write_image(tmp_path / f"{name}.png", image)
    rows = [Prediction(Path(f"{name}.png"), "SNE", 0.9) for name in (*radii, "gone")]
    write_predictions(tmp_path / "sizes.csv", CLASSES, rows)
    review = Review.open(make([tmp_path / "sizes.csv"], tmp_path / "review"))
    area = review.columns(1, ME).area.tolist()
    review.close()
    assert np.isnan(area[2])
    assert np.isnan(area[4])
    assert area[0] < area[3] < area[1]
    assert area[1] == pytest.approx(np.pi * 50**2, rel=0.15)


def test_a_review_that_was_begun_is_opened_and_its_changes_stay(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make([table])
    assert folder == Path("review-monday")
    review = Review.open(folder)
    review.change(ME, 1, [1], [0], "BNE")
    review.close()
    assert make([table]) == folder
    assert make([folder]) == folder
    other = table.with_name("other.csv")
    other.write_text("path,label\na.jpg,SNE\n")
    with pytest.raises(ArtifactError, match="another source"):
        make([other], folder)
    with replacing():
        with pytest.raises(ArtifactError, match=r"1 changes that people made.*--discard"):
            make([other], folder)
        assert Review.open(folder).changes() == 1
        with held(folder), pytest.raises(SettingsError, match="is served already"):
            make([other], folder, discard=True)
        assert Review.open(folder).changes() == 1
        make([other], folder, discard=True)
    review = Review.open(folder)
    assert review.changes() == 0
    assert review.progress(1).total == 1
    review.close()


def test_a_review_without_changes_is_replaced_where_that_is_allowed(
    table: Path, tmp_path: Path
) -> None:
    make([table], tmp_path / "review")
    with replacing():
        make([table], tmp_path / "review", target=400)
    review = Review.open(tmp_path / "review")
    assert review.settings.target == 400
    review.close()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "nothing to review"),
        (["absent"], "absent"),
        (["lab/monday.csv", "lab/a.jpg"], "without others"),
        (["lab/notes.docx"], "notes.docx"),
    ],
)
def test_what_cannot_be_reviewed_is_refused_by_name(
    table: Path, tmp_path: Path, names: list[str], said: str
) -> None:
    (tmp_path / "lab/notes.docx").write_bytes(b"text")
    with pytest.raises(InputError, match=said):
        make([tmp_path / name for name in names], tmp_path / "review")


def test_an_evaluation_is_reviewed_by_its_answers(table: Path, tmp_path: Path) -> None:
    rows = {"path": ["a.jpg", "b.jpg"], "label": ["BNE", "SNE"], "predicted": ["SNE", "SNE"]}
    shares = {"prob_BNE": [0.1, 0.2], "prob_SNE": [0.9, 0.8]}
    with writing(tmp_path / "study.1" / "run", "evaluation") as folder:
        write_table(folder / "predictions.parquet", pa.table(rows | shares))
    made = make([tmp_path / "study.1" / "run"], tmp_path / "review", root=table.parent)
    review = Review.open(made)
    assert [review.row(i).model_label for i in (1, 2)] == ["SNE", "SNE"]
    assert review.settings.input == "predictions"
    review.close()


@pytest.mark.parametrize("ending", [".xlsx", ".parquet", ".json", ".tsv"])
def test_tables_of_other_endings_are_no_images(table: Path, tmp_path: Path, ending: str) -> None:
    rows = [Prediction(Path("a.jpg"), "SNE", 0.9, np.array([0.1, 0.9, 0], np.float32))]
    file = table.with_suffix(ending)
    write_predictions(file, CLASSES, rows)
    review = Review.open(make([file], tmp_path / "review"))
    assert review.row(1).model_label == "SNE"
    review.close()


def test_images_that_are_nowhere_are_an_error_that_names_the_remedy(
    table: Path, tmp_path: Path
) -> None:
    for image in table.parent.glob("*.jpg"):
        image.unlink()
    with pytest.raises(InputError, match="--root"):
        make([table], tmp_path / "review")
    assert not (tmp_path / "review").exists()


def test_images_are_named_a_kill_costs_a_piece_and_uploads_join(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for number, label in enumerate(("SNE", "LY", "PLT")):
        write_image(images / f"{label}.jpg", render_phantom(label, 1, number).image)
    (images / "bad.jpg").write_bytes(b"\xff\xd8 no image")
    asked: list[int] = []

    def killed(done: int, total: int) -> None:
        asked.append(done)
        if done == 4:  # the second piece is not whole
            raise KeyboardInterrupt

    paths = sorted(images.glob("*.jpg"))
    model, work = find("pbc11"), tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        name_cells(paths, model, work, killed, piece=2)
    asked.clear()
    name_cells(paths, model, work, lambda done, _: asked.append(done), piece=2)
    assert asked == [3, 4]
    folder = make([images], tmp_path / "review")
    assert not (tmp_path / ".review.work").exists()
    review = Review.open(folder)
    found = [review.row(i) for i in range(1, 5)]
    assert [row.path for row in found] == ["LY.jpg", "PLT.jpg", "SNE.jpg", "bad.jpg"]
    bad = found[-1]
    assert bad.model_label is None
    assert bad.flag.startswith("error: ")
    assert all(row.probabilities is not None for row in found[:3])
    assert review.settings.input == "folder"

    into = folder / "uploads" / "one"
    into.mkdir(parents=True)
    shutil.copy(images / "SNE.jpg", into / "new.jpg")
    shutil.copy(images / "bad.jpg", into / "bad.jpg")
    told: list[tuple[int, int]] = []
    added = add_files(review, sorted(into.iterdir()), lambda n, of: told.append((n, of)))
    assert added.cells == 1
    assert [name for name, _ in added.refused] == ["bad.jpg"]
    assert told[-1] == (2, 2)
    row = review.row(5)
    assert row.path == "uploads/one/new.jpg"
    assert row.model_label == found[2].model_label
    assert row.rank > max(one.rank for one in found)
    assert review.columns(1, ME).ids.tolist() == [1, 2, 3, 4, 5]
    review.close()


def test_a_synthetic_review_is_as_large_as_asked_for(tmp_path: Path) -> None:
    review = Review.open(synthetic_review(tmp_path / "many", 700, size=96))
    columns = review.columns(1, ME)
    assert len(columns.ids) == 700
    assert (columns.model < 0).sum() == 7
    assert np.unique(columns.rank).size == 700
    assert np.bincount(np.unique(columns.cluster, return_inverse=True)[1]).max() <= 60
    review.close()
