"""What a model answers when the cell is gone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from naturalize.base.errors import SettingsError
from naturalize.base.images import write_image
from naturalize.dataset.phantom import render_phantom
from naturalize.evaluation.evaluate import evaluate
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import Item
from naturalize.evaluation.shortcuts import evenly, hidden_scores
from naturalize.models.predictor import OwnPredictor

LABELS = ("EO", "LY")


def test_the_cell_is_gone_and_an_image_without_any_is_left_out(tmp_path) -> None:
    items, middles = [], []
    for i in range(2):
        image = render_phantom(LABELS[i], 0, i).image
        write_image(tmp_path / f"{i}.png", image)
        items.append(Item(str(i), f"{i}.png", LABELS[i]))
    write_image(tmp_path / "blank.png", np.full((360, 360, 3), 220, np.uint8))
    items.append(Item("blank", "blank.png", "EO"))

    def dark(images, *, batch):
        middles.extend(image[140:220, 140:220].mean() for image in images)
        return np.tile([0.9, 0.1], (len(images), 1))

    before = [render_phantom(LABELS[i], 0, i).image[140:220, 140:220].mean() for i in range(2)]
    found = hidden_scores(OwnPredictor(LABELS, dark), items, tmp_path)
    assert (found["n"], found["n_without_cells"], found["chance"]) == (2, 1, 0.5)
    assert min(middles) > max(before) + 20  # paler: the nucleus is painted over
    for what in ("context", "background"):
        assert found[what]["balanced_accuracy"] == 0.5
        assert found[what]["mean_confidence"] == pytest.approx(0.9)


def test_nothing_to_show_is_said_and_not_scored(tmp_path) -> None:
    found = hidden_scores(OwnPredictor(LABELS, lambda images, batch: 1 / 0), [], tmp_path)
    assert found["n"] == 0
    assert found["context"] is found["background"] is None


def test_classes_have_their_turns() -> None:
    items = [Item(str(i), "", "EO" if i else "LY") for i in range(50)]
    chosen = evenly(items, 6, 0)
    assert Counter(item.label for item in chosen) == {"LY": 1, "EO": 5}
    assert chosen == evenly(items, 6, 0)


def test_merged_classes_are_refused(tmp_path) -> None:
    model = OwnPredictor(LABELS, lambda images, batch: np.ones((len(images), 2)) / 2)
    with pytest.raises(SettingsError, match="--map"):
        evaluate(model, [Item("a", "a.png", "N")], tmp_path, tmp_path / "out",
                 merge=Merge({"N": LABELS}), shortcuts=True)  # fmt: skip
