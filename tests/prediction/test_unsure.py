"""Why an answer is unsure, from the network's logits to the column of the table."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from naturalize.base.images import write_image
from naturalize.models.config import NetworkConfig
from naturalize.models.doubt import fit_doubt
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import predict_files
from naturalize.prediction.table import write_predictions

CLASSES = ("EO", "LY", "MO")


class ByColour(NetworkPredictor):
    """Logits are the mean red, green and blue of an image, a twentieth of them."""

    def __init__(self, doubt=None) -> None:
        size = {"input_size": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3}
        self.config = NetworkConfig("own", CLASSES, weights_source="none", doubt=doubt, **size)

    def logits(self, images, slides=()):
        return np.array([image.mean(axis=(0, 1)) / 20 for image in images]).reshape(-1, 3)

    def probabilities(self, images, *, batch=32, what=None):
        return softmax(self.logits(list(images)), axis=1).astype(np.float32)

    def judged(self, images, slides, *, batch=32):
        logits = self.logits(images)
        return softmax(logits, axis=1).astype(np.float32), self.strangeness(logits)


@pytest.fixture(scope="module")
def doubt():
    """Fitted on 100 images of each class, of which LY and MO overlap."""
    draw = np.random.default_rng(0)
    true = np.repeat(np.arange(3), 100)
    logits = np.array([[10.0, 2, 2], [2, 8.4, 7.6], [2, 7.6, 8.4]])[true] + draw.normal(
        0, 1, (300, 3)
    )
    found = fit_doubt(CLASSES, logits, softmax(logits, axis=1), true)
    assert found is not None
    return found


@pytest.fixture
def images(tmp_path):
    colours = {"plain": (200, 40, 40), "between": (40, 161, 160), "strange": (0, 0, 0)}
    paths = [tmp_path / f"{name}.png" for name in colours]
    for path, colour in zip(paths, colours.values(), strict=True):
        write_image(path, np.full((8, 8, 3), colour, np.uint8))
    return paths


def test_the_flag_says_why_and_the_column_which(doubt, images, tmp_path):
    rows = list(predict_files(ByColour(doubt), images))
    assert [row.flags for row in rows] == [
        (), ("unsure: two classes",), ("unsure: like nothing seen",)
    ]  # fmt: skip
    assert [row.unsure for row in rows] == [False, True, True]
    assert rows[0].candidates == ("EO",)
    assert rows[1].candidates == ("LY", "MO")
    write_predictions(tmp_path / "t.csv", CLASSES, rows, sets=True)
    found = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["set"] for row in found[:2]] == ["EO", "LY MO"]


def test_without_sets_and_a_limit_only_confidence_counts(images, tmp_path):
    rows = list(predict_files(ByColour(), images, unsure=0.6))
    assert [row.flags for row in rows] == [(), *[("unsure: low confidence",)] * 2]
    assert rows[1].candidates is None
    write_predictions(tmp_path / "t.csv", CLASSES, rows)
    assert "set" not in next(csv.reader((tmp_path / "t.csv").open()))


def test_images_from_elsewhere_are_judged_by_the_network_that_answers(doubt, images):
    from naturalize.prediction.predictor import answers_to, network_for
    from naturalize.prediction.standardise import Standardised

    home, away = ByColour(), ByColour(doubt)
    home.elsewhere = away
    dark = np.zeros((8, 8, 3), np.uint8)
    made = [Standardised(dark), Standardised(dark, ("standardised",))]
    _, strange = answers_to(home, made, views=1)
    assert np.isnan(strange[0])
    assert strange[1] == pytest.approx(float(doubt.strangeness(np.zeros((1, 3)))[0]))
    assert [network_for(home, one) for one in made] == [home, away]
    assert replace(home.config, doubt=doubt) == away.config
