"""A class mix as a prior, stated or estimated; several views of a cell."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import InputError, SettingsError
from naturalize.cli.app import run_app
from naturalize.models.config import NetworkConfig
from naturalize.models.predictor import NetworkPredictor
from naturalize.prediction.files import Prediction
from naturalize.prediction.predictor import of_standardised
from naturalize.prediction.prior import estimate, parse, reweighted, under
from naturalize.prediction.standardise import Standardised

CLASSES = ("BNE", "EO", "LY", "SNE")


def test_probabilities_are_multiplied_by_the_ratio_of_the_mixes():
    found = reweighted(np.array([[0.5, 0.3, 0.2]]), np.array([0.1, 0.1, 0.8]))
    np.testing.assert_allclose(found, [[0.05 / 0.24, 0.03 / 0.24, 0.16 / 0.24]], rtol=1e-6)
    known = reweighted(np.array([[0.5, 0.5]]), np.array([0.5, 0.5]), np.array([0.8, 0.2]))
    np.testing.assert_allclose(known, [[0.2, 0.8]], rtol=1e-6)
    never = reweighted(np.array([[0.0, 1.0]]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(never, [[0, 1]])


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_an_even_prior_changes_nothing(rows):
    given_ = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(reweighted(given_, np.full(3, 1 / 3)), given_, atol=1e-6)


def test_the_mix_of_a_set_is_found_from_answers_for_an_even_one():
    draw = np.random.default_rng(0)
    mix = np.array([0.7, 0.25, 0.05])
    labels = draw.choice(3, 6000, p=mix)
    place = draw.normal(np.array([-1.5, 0, 2.0])[labels])
    density = np.exp(-((place[:, None] - [-1.5, 0, 2.0]) ** 2) / 2)
    answers = density / density.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(estimate(answers), mix, atol=0.03)


def test_too_few_cells_say_nothing_of_a_mix():
    with pytest.raises(InputError, match="32 are needed"):
        estimate(np.full((31, 2), 0.5))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BNE+SNE=0.6,LY=0.3", [0.3, 0.1, 0.3, 0.3]),
        ("LY=1", [0, 0, 1, 0]),
        ("BNE=.25, EO=.25, LY=.25, SNE=.25", [0.25] * 4),
    ],
)
def test_a_mix_is_stated_by_class(text, expected):
    np.testing.assert_allclose(parse(text, CLASSES), expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NEU=0.6", "NEU"),
        ("LY=0.5,LY=0.2", "twice"),
        ("LY=0.8,EO=0.5", "sum to 1.3"),
        ("BNE+EO+LY+SNE=0.4", "sum to 0.4"),
        ("LY=60%", "LY=60%"),
        ("LY=-0.1", "LY=-0.1"),
        ("LY", "CLASS=SHARE"),
        ("", "CLASS=SHARE"),
    ],
)
def test_a_mix_that_is_none_is_refused(text, said):
    with pytest.raises(SettingsError, match=said.replace("+", r"\+")):
        parse(text, CLASSES)


def test_rows_say_the_mix_and_are_flagged_anew():
    row = Prediction(
        Path("a.png"), "LY", 0.6, np.array([0, 0.4, 0.6, 0], np.float32), flags=("standardised",)
    )
    doubted = replace(row, path=Path("b.png"), flags=("standardised", "unsure"))
    none = Prediction(Path("c.png"), "no cell")
    found = under([row, doubted, none], "EO=0.5,LY=0.5", CLASSES, unsure=0.7)
    assert found[0].flags == ("standardised", "unsure: low confidence")
    assert [one.flags for one in found[1:]] == [("standardised", "unsure"), ()]
    found = under([row, doubted, none], "EO=0.9,LY=0.1", CLASSES, unsure=0.5)
    assert [one.label for one in found] == ["EO", "EO", "no cell"]
    assert found[0].confidence == pytest.approx(0.36 / 0.42)
    # an image that is in doubt stays so, however sure the answer
    assert [one.flags for one in found[:2]] == [("standardised",), ("standardised", "unsure")]
    assert [one.prior for one in found] == ["EO=0.9, LY=0.1"] * 2 + [None]


def test_the_table_has_the_mix(phantom_root, tmp_path, capsys):
    out = tmp_path / "table.csv"
    with pytest.raises(SystemExit) as ended:
        run_app(["predict", str(phantom_root), "-o", str(out), "--prior", "LY=1", "--views", "4"])
    assert ended.value.code == 0
    rows = list(csv.DictReader(out.open()))
    assert {row["label"] for row in rows if row["prior"]} == {"LY"}
    assert {row["prior"] for row in rows if row["prob_LY"]} == {"LY=1"}
    assert "class mix (stated): LY=1" in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--views", "3"], ["--prior", "NEU=1"]])
def test_what_cannot_be_asked_ends_the_command(option, phantom_root, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run_app(["predict", str(phantom_root), "-o", str(tmp_path / "t.csv"), *option])
    assert ended.value.code == 2
    assert not (tmp_path / "t.csv").exists()


class Corners(NetworkPredictor):
    """Answers with the brightness of three corners: another for each of the eight views."""

    def __init__(self):
        self.config = NetworkConfig("corners", ("a", "b", "c"), 2, (0,), (1,), "none")

    def probabilities(self, images, *, batch=32, what=None):
        seen = [np.array([i[0, 0, 0], i[0, -1, 0], i[-1, 0, 0]], np.float32) for i in images]
        return np.array([row / row.sum() for row in seen]).reshape(-1, 3)


def test_views_are_the_turns_of_a_cell_and_their_mirror_images():
    a, b, c, d = 10, 20, 30, 40
    image = np.repeat(np.array([[a, b], [c, d]], np.uint8)[:, :, None], 3, axis=2)
    made, model = [Standardised(image)], Corners()
    turns = [(a, b, c), (b, d, a), (d, c, b), (c, a, d)]
    mirrored = [(x[0], x[2], x[1]) for x in turns]

    def mean(rows):
        return np.mean([np.array(row) / sum(row) for row in rows], axis=0)

    for n, expected in ((1, turns[:1]), (4, turns), (8, turns + mirrored)):
        np.testing.assert_allclose(
            of_standardised(model, made, views=n)[0], mean(expected), rtol=1e-6
        )
    assert of_standardised(model, [], views=8).shape == (0, 3)
    with pytest.raises(SettingsError, match="1, 4 or 8"):
        of_standardised(model, made, views=2)
