"""The evaluation artifact: what it holds, what it leaves out, and that a kill costs nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from naturalize.base.artifacts import read_manifest, write_table
from naturalize.base.errors import ArtifactError, ImageReadError, InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.cli.evaluate import remarks
from naturalize.evaluation.evaluate import evaluate, read_metrics
from naturalize.evaluation.predictions import (
    Item,
    known_items,
    predictions_schema,
    read_predictions,
)

CLASSES = ["BA", "EO", "LY"]


class ByColour:
    """Says BA for red, EO for green, LY for blue; counts the images it sees."""

    classes = tuple(CLASSES)

    def __init__(self, *, dies_after: int | None = None) -> None:
        self.seen, self.dies_after = 0, dies_after

    def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
        rows = []
        for image in images:
            self.seen += 1
            if self.dies_after is not None and self.seen > self.dies_after:
                raise KeyboardInterrupt
            colour = image.reshape(-1, 3).mean(axis=0).astype(np.float64)
            rows.append((1 + colour) / (1 + colour).sum())
        return np.array(rows, np.float32).reshape(-1, 3)


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, list[Item]]:
    """150 images; every tenth has a colour of the next class."""
    root, items = tmp_path / "images", []
    for i in range(150):
        true = i % 3
        image = np.full((6, 6, 3), i // 6, np.uint8)
        image[:, :, (true + (i % 10 == 0)) % 3] = 200
        write_image(root / f"{i:03d}.png", image)
        items.append(Item(f"{i:016x}", f"{i:03d}.png", CLASSES[true]))
    return root, items


def test_artifact_holds_what_the_format_says(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    out = evaluate(ByColour(), items, root, tmp_path / "out", inputs={"model": "0123"})
    table = read_predictions(out)
    assert table.schema.equals(predictions_schema(CLASSES))
    assert table["path"].to_pylist() == [item.path for item in items]
    rows = table.to_pylist()
    for row in rows:
        shares = [row[f"prob_{name}"] for name in CLASSES]
        assert row["predicted"] == CLASSES[int(np.argmax(shares))]
        assert row["confidence"] == max(shares)
    result = read_metrics(out)
    assert result["n"] == 150
    assert result["accuracy"] == pytest.approx(0.9)
    assert np.trace(result["confusion"]) == 135
    assert np.sum(result["confusion"]) == 150
    for name, (low, high) in result["intervals"].items():
        assert low <= result[name] <= high
    assert result["protocol"] == "honest"
    assert result["labels"] == CLASSES
    assert "150 images" in result["interval_method"]
    assert read_manifest(out, "evaluation").inputs == {"model": "0123"}
    pictures = ["confusion.svg", "per_class_f1.svg", "reliability.svg"]
    assert all(b"<svg" in (out / name).read_bytes() for name in pictures)
    assert not list(tmp_path.glob(".*")), "work folders are cleared away"


def test_same_inputs_give_the_same_bytes(tmp_path: Path, images: tuple[Path, list[Item]]) -> None:
    root, items = images
    one = evaluate(ByColour(), items, root, tmp_path / "one")
    other = evaluate(ByColour(), items, root, tmp_path / "other")
    assert read_manifest(one) == read_manifest(other)


def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    whole = evaluate(ByColour(), items, root, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        evaluate(ByColour(dies_after=100), items, root, tmp_path / "out", work=tmp_path / "work")
    assert not (tmp_path / "out").exists()
    again = ByColour()
    evaluate(again, items, root, tmp_path / "out", work=tmp_path / "work")
    assert again.seen == 150 - 64  # the first piece was kept
    assert read_manifest(tmp_path / "out") == read_manifest(whole)


def test_other_labels_do_not_meet_old_pieces(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    with pytest.raises(KeyboardInterrupt):
        evaluate(ByColour(dies_after=100), items, root, tmp_path / "out")
    items = [replace(item, label="BA") for item in items]
    result = read_metrics(evaluate(ByColour(), items, root, tmp_path / "out"))
    assert result["per_class"]["BA"]["support"] == 150


def test_unreadable_images_are_listed_counted_and_skipped(
    tmp_path: Path, images: tuple[Path, list[Item]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, items = images
    (root / "003.png").write_bytes(b"")
    (root / "007.png").write_text("no image")
    (root / "010.png").unlink()
    out = evaluate(ByColour(), items, root, tmp_path / "out")
    result = read_metrics(out)
    assert result["n_skipped"] == 3
    assert [row["path"] for row in result["skipped"]] == ["003.png", "007.png", "010.png"]
    assert result["skipped"][0]["reason"] == "empty file (0 bytes)"
    assert result["n"] == 147 == read_predictions(out).num_rows
    assert "010.png" not in read_predictions(out)["path"].to_pylist()
    assert "3 file(s) skipped: cannot be read" in capsys.readouterr().err
    with pytest.raises(ImageReadError, match=r"003\.png: empty file"):
        evaluate(ByColour(), items, root, tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of 1 images could be read.*gone\.png: no such"):
        evaluate(ByColour(), [Item("0", "gone.png", "BA")], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_the_model_does_not_know_are_refused_or_dropped(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    mixed = [*items[:147], *(replace(item, label="IG") for item in items[147:149])]
    mixed.append(replace(items[149], label="NEUTROPHIL"))
    with pytest.raises(InputError, match=r"3 of 150 images .*: IG \(2\), NEUTROPHIL \(1\)"):
        evaluate(ByColour(), mixed, root, tmp_path / "out")
    out = evaluate(ByColour(), mixed, root, tmp_path / "out", unknown_labels="drop")
    result = read_metrics(out)
    assert result["dropped_labels"] == {"IG": 2, "NEUTROPHIL": 1}
    assert result["n"] == 147


def test_classes_absent_from_the_data_have_support_0(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    some = [item for item in items if item.label != "LY"]
    result = read_metrics(evaluate(ByColour(), some, root, tmp_path / "out"))
    assert result["per_class"]["LY"]["support"] == 0
    assert result["absent"] == ["LY"]
    recalls = [result["per_class"][name]["recall"] for name in ("BA", "EO")]
    assert result["macro_recall"] == pytest.approx(np.mean(recalls))
    assert "support > 0" in result["convention"]


def test_all_right_still_has_an_honest_interval(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    root, items = images
    right = [item for i, item in enumerate(items) if i % 10]
    result = read_metrics(evaluate(ByColour(), right, root, tmp_path / "out"))
    assert result["intervals"]["accuracy"] == [1.0, 1.0]
    assert result["accuracy_wilson"][0] < 0.98


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "nothing to evaluate"),
        ([Item("0", "a.png", "")], "a.png: has no label"),
        ([Item("0", "a.png", "XX")], "does not know: XX"),
    ],
)
def test_bad_items_are_named(items: list[Item], said: str) -> None:
    with pytest.raises(InputError, match=said):
        known_items(items, CLASSES)


def test_nothing_left_after_dropping_is_an_error() -> None:
    with pytest.raises(InputError, match="none of the images is of a class"):
        known_items([Item("0", "a.png", "XX")], CLASSES, unknown_labels="drop")


def test_misspelt_settings_are_named(tmp_path: Path) -> None:
    item = [Item("0", "a.png", "BA")]
    with pytest.raises(SettingsError, match="did you mean 'honest'"):
        evaluate(ByColour(), item, tmp_path, tmp_path / "out", protocol="honst")
    with pytest.raises(SettingsError, match="unknown_labels"):
        known_items(item, CLASSES, unknown_labels="keep")


def test_a_model_that_gives_nan_is_told_apart(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    class Diverged(ByColour):
        def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
            return super().probabilities(images) * np.float32("nan")

    with pytest.raises(InputError, match="no numbers"):
        evaluate(Diverged(), images[1], images[0], tmp_path / "out")


def test_a_class_that_is_never_answered_is_named(
    tmp_path: Path, images: tuple[Path, list[Item]]
) -> None:
    class Always(ByColour):
        def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
            return super().probabilities(images) * 0 + np.array([0.2, 0.2, 0.6], np.float32)

    out = evaluate(Always(), images[1], images[0], tmp_path / "out", resamples=100)
    assert any("never answered: BA, EO;" in line for line in remarks(read_metrics(out)))
    assert read_metrics(out)["macro_f1"] == pytest.approx((0 + 0 + 0.5) / 3)
    # of classes that the images do not have, nothing is said
    only = [item for item in images[1] if item.label == "LY"]
    out = evaluate(ByColour(), only, images[0], tmp_path / "some", resamples=100)
    assert not any("never answered" in line for line in remarks(read_metrics(out)))


@pytest.mark.parametrize(
    ("cut", "shape"), [(np.s_[:, :2], "(64, 2)"), (np.s_[:-1], "(63, 3)"), (np.s_[0], "(3,)")]
)
def test_a_model_that_gives_another_shape_is_told_apart(
    tmp_path: Path, images: tuple[Path, list[Item]], cut: object, shape: str
) -> None:
    class Wrong(ByColour):
        def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
            return super().probabilities(images)[cut]

    said = re.escape(f"of shape {shape}; expected (64, 3)")
    with pytest.raises(InputError, match=said):
        evaluate(Wrong(), images[1], images[0], tmp_path / "out")


def test_damaged_predictions_are_refused(tmp_path: Path, images: tuple[Path, list[Item]]) -> None:
    out = evaluate(ByColour(), images[1], images[0], tmp_path / "out")
    (out / "predictions.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"predictions\.parquet"):
        read_predictions(out)
    manifest = json.loads((out / "artifact.json").read_text())
    (out / "artifact.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(ArtifactError, match="format version 99"):
        read_metrics(out)


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("label", 4, "XX", "label: expected one of BA, EO, LY, got 'XX'"),
        ("predicted", 4, "XX", "predicted: expected one of BA, EO, LY, no cell, got 'XX'"),
        ("predicted", 1, "BA", "1 of 150 rows, the first 1, another class"),
        ("prob_LY", 0, 0.9, "do not sum to one: row 0"),
        ("prob_LY", 7, float("nan"), "no numbers"),
        ("label", None, None, "has no row"),
    ],
)
def test_predictions_that_no_evaluation_writes_are_refused(
    tmp_path: Path, images: tuple[Path, list[Item]], column: str, row: int | None, value, said: str
) -> None:
    out = evaluate(ByColour(), images[1], images[0], tmp_path / "out")
    table = read_predictions(out)
    values = table[column].to_pylist()
    if row is None:
        table = table.slice(0, 0)
    else:
        values[row] = value
        place = table.column_names.index(column)
        table = table.set_column(place, column, pa.array(values, table.schema.field(place).type))
    write_table(out / "predictions.parquet", table)
    with pytest.raises(InputError, match=re.escape(said)):
        read_predictions(out)
