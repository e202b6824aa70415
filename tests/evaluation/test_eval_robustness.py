"""Scores under corruptions: of the same images, as scikit-learn has them, with paired intervals."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.cli.evaluate import robustness_remarks, robustness_table
from naturalize.evaluation.evaluate import evaluate
from naturalize.evaluation.predictions import Item
from naturalize.evaluation.robustness import read_robustness, sampled
from naturalize.imaging.corruptions import CORRUPTIONS
from naturalize.models.predictor import Predictor

CLASSES = ("dark", "light")


class Brightness:
    """Calls an image light by its mean, so that exposure and no blur decides."""

    classes = CLASSES

    def probabilities(self, images, *, batch=32, what=None):
        share = np.array([image.mean() / 255 for image in images])
        return np.stack([1 - share, share], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("robust")
    items = []
    for i in range(14):
        label = CLASSES[i % 2]
        write_image(root / f"{i}.png", np.full((24, 24, 3), 118 + 20 * (i % 2), np.uint8))
        # two files of the same bytes have one id
        items.append(Item(f"{label}{i // 4}", f"{i}.png", label))
    return evaluate(Brightness(), items, root, root / "out", robustness=5, resamples=200, seed=3)


def test_scores_are_those_of_scikit_learn(evaluation: Path) -> None:
    found = read_robustness(evaluation)
    table = pq.read_table(evaluation / "robustness.parquet").to_pylist()
    assert (found["n"], found["images"]) == (10, {"dark": 5, "light": 5})
    assert len(table) == 10 * 51
    means = []
    for name, each in found["corruptions"].items():
        for one in each["strengths"]:
            part = [r for r in table if (r["corruption"], r["strength"]) == (name, one["strength"])]
            true, said = [r["label"] for r in part], [r["predicted"] for r in part]
            f1 = f1_score(true, said, average="macro", zero_division=0)
            assert one["macro_f1"]["value"] == pytest.approx(f1)
            assert one["balanced_accuracy"]["value"] == pytest.approx(
                balanced_accuracy_score(true, said)
            )
        means.append(np.mean([one["macro_f1"]["value"] for one in each["strengths"]]))
        assert each["mean"]["macro_f1"]["value"] == pytest.approx(means[-1])
    clean = found["clean"]["macro_f1"]["value"]
    assert clean == 1.0
    assert found["mean_corruption_score"]["macro_f1"]["value"] == pytest.approx(np.mean(means))
    kept = found["relative_robustness"]["macro_f1"]["value"]
    assert kept == pytest.approx(np.mean(means) / clean)


def test_what_changes_no_answer_changes_no_score_and_has_no_interval(evaluation: Path) -> None:
    found = read_robustness(evaluation)["corruptions"]
    assert found["defocus"]["change"]["macro_f1"] == {"value": 0.0, "interval": [0.0, 0.0]}
    low, high = found["exposure"]["change"]["macro_f1"]["interval"]
    assert low < high <= 0


def test_the_sample_is_drawn_by_seed_and_class() -> None:
    labels = ["a"] * 30 + ["b"] * 3
    places = sampled(labels, 10, 0)
    assert Counter(labels[i] for i in places) == {"a": 10, "b": 3}
    assert places == sampled(labels, 10, 0) == sorted(set(places))
    assert places != sampled(labels, 10, 1)


def test_it_is_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.full((8, 8, 3), 10, np.uint8))
    items = [Item("a", "a.png", "dark")]
    out = evaluate(Brightness(), items, tmp_path, tmp_path / "out", resamples=100)
    assert read_robustness(out) is None
    with pytest.raises(SettingsError, match="1 image a class or more"):
        evaluate(Brightness(), items, tmp_path, tmp_path / "no", robustness=-1)


class Seeing(Predictor):
    """The same, but finds no cell in what is dark: equal probabilities, as `predict` has it."""

    classes, prepared = CLASSES, "standardised"

    def probabilities(self, images, *, batch=32, what=None):
        images = list(images)
        found = Brightness().probabilities(images)
        return np.where([[image.mean() < 60] for image in images], np.float32(0.5), found)


def test_an_image_without_a_cell_is_no_answer_of_a_class(tmp_path: Path) -> None:
    items = []
    for i in range(8):
        level = 30 if i == 0 else 100 + 60 * (i % 2)
        write_image(tmp_path / f"{i}.png", np.full((24, 24, 3), level, np.uint8))
        items.append(Item(str(i), f"{i}.png", CLASSES[i % 2]))
    out = evaluate(Seeing(), items, tmp_path, tmp_path / "out", robustness=4, resamples=100)
    table = pq.read_table(out / "robustness.parquet").to_pylist()
    as_is = [row["predicted"] for row in table if row["strength"] == 0]
    assert as_is == ["no cell", "light", *["dark", "light"] * 3]
    dim = [row for row in table if (row["corruption"], row["strength"]) == ("exposure", 5)]
    true, said = [row["label"] for row in dim], [row["predicted"] for row in dim]
    assert "no cell" in said
    assert not set(said) - {*CLASSES, "no cell"}
    found = read_robustness(out)
    assert found["clean"]["accuracy"]["value"] == pytest.approx(7 / 8)
    last = found["corruptions"]["exposure"]["strengths"][-1]
    f1 = f1_score(true, said, labels=CLASSES, average="macro", zero_division=0)
    assert last["macro_f1"]["value"] == pytest.approx(f1)
    # no answer, no confidence: the calibration is of the answers that were given
    answered = [row for row in table if row["strength"] == 0 and row["predicted"] != "no cell"]
    gaps = [1 - row["confidence"] for row in answered]
    assert found["clean"]["ece"]["value"] == pytest.approx(np.mean(gaps), abs=1e-6)


def test_what_is_printed_and_the_csv_say_the_same(evaluation: Path) -> None:
    found = read_robustness(evaluation)
    rows = list(csv.DictReader((evaluation / "robustness.csv").read_text().splitlines()))
    assert len(rows) == 1 + len(CORRUPTIONS) * 6 + 1
    mean = found["mean_corruption_score"]["macro_f1"]["value"]
    assert float(rows[-1]["macro_f1"]) == pytest.approx(mean, abs=1e-6)
    assert robustness_table(found).row_count == len(CORRUPTIONS) + 2
    assert any(f"macro-F1 {mean:.3f}" in line for line in robustness_remarks(found))
    assert (evaluation / "robustness.svg").read_text().count("exposure") >= 1
