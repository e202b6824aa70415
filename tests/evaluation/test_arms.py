"""Arms at several sizes and seeds: means, paired differences and multipliers, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import f1_score

from naturalize.base.errors import InputError
from naturalize.evaluation.arms import Answered, compared, written

LABELS = ("a", "b")
TRUE = ["a", "b"] * 20


def answered(arm, n, seed, wrong, *, true=TRUE, order=1):
    """Answers of which the first ``wrong`` of each class are wrong; rows in any order."""
    counts = dict.fromkeys(LABELS, 0)
    said = []
    for label in true:
        other = LABELS[1 - LABELS.index(label)]
        said.append(other if counts[label] < wrong else label)
        counts[label] += 1
    rows = {"image_id": [f"{i:03d}" for i in range(len(true))], "label": true, "predicted": said}
    return Answered(arm, n, seed, LABELS, pa.table({k: v[::order] for k, v in rows.items()}), 3.0)


def test_values_are_means_over_seeds_and_differences_are_of_the_same_seeds():
    cells = [
        answered("real", 10, 0, 8),
        answered("real", 10, 1, 6, order=-1),
        answered("made", 10, 0, 4),
        answered("made", 10, 1, 4),
    ]
    found = compared(cells, ["real", "made"], weak=["b"])
    for cell, row in zip(cells, found["cells"], strict=True):
        table = cell.table.to_pydict()
        expected = f1_score(table["label"], table["predicted"], average="macro")
        assert row["macro_f1"] == pytest.approx(expected)
    scores = [row["macro_f1"] for row in found["cells"]]
    assert found["curves"]["real"]["10"]["macro_f1"]["value"] == pytest.approx(np.mean(scores[:2]))
    gain = found["differences"]["made"]["10"]["macro_f1"]
    assert gain["value"] == pytest.approx(np.mean(scores[2:]) - np.mean(scores[:2]))
    assert gain["interval"][0] <= gain["value"] <= gain["interval"][1]
    assert found["curves"]["made"]["10"]["weak_f1"]["value"] == pytest.approx(0.8)
    assert written(found).decode().splitlines()[0].startswith("arm,images_per_class,seed,macro_f1")


def test_an_arm_that_answers_the_same_gains_nothing_and_needs_as_many():
    cells = [answered(arm, n, 0, w) for arm in ("real", "same") for n, w in ((10, 8), (20, 4))]
    found = compared(cells, ["real", "same"])
    for n in ("10", "20"):
        assert found["differences"]["same"][n]["macro_f1"] == {"value": 0, "interval": [0, 0]}
        times = found["multipliers"]["same"][n]["macro_f1"]
        assert times["value"] == pytest.approx(1, abs=1e-3)


def test_seeds_are_drawn_alike_for_all_arms_and_sizes():
    """An arm that repeats the first one's answers needs just as many images in every resample."""
    wrong = {(10, 0): 18, (10, 1): 15, (20, 0): 9, (20, 1): 6, (40, 0): 3, (40, 1): 0}
    cells = [answered(arm, n, s, w) for arm in ("real", "same") for (n, s), w in wrong.items()]
    found = compared(cells, ["real", "same"])
    assert "and 2 seeds" in found["method"]
    assert found["curves"]["real"]["10"] == found["curves"]["same"]["10"]
    for n in ("10", "20"):
        assert found["multipliers"]["same"][n]["macro_f1"]["interval"] == pytest.approx(
            [1, 1], abs=1e-3
        )
    one = compared([cell for cell in cells if cell.seed == 0], ["real", "same"])
    assert "one seed" in one["method"]


def test_the_multiplier_is_what_the_first_arm_needs():
    """At 10 images an F1 half way between those of 10 and 40: as of 20, in logarithms."""
    real = [answered("real", n, 0, wrong) for n, wrong in ((10, 8), (40, 4))]
    for wrong, expected in ((6, 2.0), (8, 1.0), (2, None), (9, 0.0)):
        found = compared([*real, answered("made", 10, 0, wrong)], ["real", "made"])
        value = found["multipliers"]["made"]["10"]["macro_f1"]["value"]
        assert value == (expected if expected is None else pytest.approx(expected, abs=1e-3))
    assert "40" not in found["multipliers"]["made"]
    flat = [answered("real", n, 0, 8) for n in (10, 40)]
    found = compared([*flat, answered("made", 10, 0, 8)], ["real", "made"])
    assert found["multipliers"]["made"]["10"]["macro_f1"]["value"] == 1  # the least that suffice


def test_what_cannot_be_compared_is_refused():
    one = answered("real", 10, 0, 3)
    with pytest.raises(
        InputError, match=r"made, 10 images, seed 0: answered for other test images"
    ):
        compared([one, answered("made", 10, 0, 3, true=TRUE[:-2])], ["real", "made"])
    with pytest.raises(InputError, match="weak: c is no class; there are a, b"):
        compared([one], ["real"], weak=["c"])


def there(said, *, true=("x", "x", "x", "y"), order=1):
    """Answers in another laboratory, of a model that also has a class that it lacks."""
    n = len(true)
    rows = {
        "image_id": [f"{i}" for i in range(n)], "label": list(true), "predicted": list(said),
        "confidence": [0.5] * n, "group": [None] * n,
        **{f"prob_{c}": [1 / 3] * n for c in "xyz"},
    }  # fmt: skip
    return pa.table({k: v[::order] for k, v in rows.items()})


def test_other_laboratories_count_alike_whatever_their_size():
    labs = {
        "real": {"north": there("xxyz"), "south": there("xy", true="xy")},
        "made": {"north": there("xxxz", order=-1), "south": there("xx", true="xy")},
    }
    cells = [replace(answered(arm, 10, 0, 4), elsewhere=its) for arm, its in labs.items()]
    found = compared(cells, ["real", "made"])
    # recalls: (2/3 + 0) / 2 and 1; (1 + 0) / 2 and 1/2
    expected = [np.mean([1 / 3, 1]), np.mean([1 / 2, 1 / 2])]
    assert [row["elsewhere"] for row in found["cells"]] == pytest.approx(expected)
    gain = found["differences"]["made"]["10"]["elsewhere"]
    assert gain["value"] == pytest.approx(expected[1] - expected[0], abs=1e-4)
    assert gain["interval"][0] < gain["value"] <= gain["interval"][1]
    assert found["laboratories"] == {"north": 4, "south": 2}
    assert "images of each laboratory and class" in found["method_elsewhere"]
    assert found["scores"] == ["macro_f1", "elsewhere"]
    for other in ({}, {**labs["made"], "south": there("x", true="x")}):
        with pytest.raises(InputError, match=r"made, 10 images, seed 0: .* other laboratories"):
            compared([cells[0], replace(cells[1], elsewhere=other)], ["real", "made"])


def test_an_arm_is_compared_with_the_one_it_names():
    """Its difference and its multiplier are those that it has where that arm is the first."""
    cells = [
        answered(arm, n, 0, wrong)
        for arm, both in {"real": (9, 7), "strong": (8, 4), "made": (6, 3)}.items()
        for n, wrong in zip((10, 40), both, strict=True)
    ]
    found = compared(cells, ["real", "strong", "made"], beside={"made": "strong"})
    alone = compared(cells[2:], ["strong", "made"])
    for what in ("differences", "multipliers"):
        for n, its in found[what]["made"].items():
            value = its["macro_f1"]["value"]
            assert value == alone[what]["made"][n]["macro_f1"]["value"]
    assert found["multipliers"]["made"]["10"]["macro_f1"]["value"] == pytest.approx(2, abs=1e-3)
    assert found["beside"] == {"strong": "real", "made": "strong"}
    each = [its["macro_f1"]["value"] for its in found["differences"]["made"].values()]
    mean = found["mean_differences"]["made"]["macro_f1"]
    assert mean["value"] == pytest.approx(np.mean(each), abs=1e-4)
    assert mean["interval"][0] <= mean["value"] <= mean["interval"][1]


def test_images_of_a_group_are_drawn_together():
    """With two groups, one all right and one all wrong, a resample is all, half or nothing."""
    one = answered("real", 10, 0, 0)
    rows = one.table.to_pydict()
    rows["group"] = ["ill" if i < 20 else "well" for i in range(len(TRUE))]
    rows["predicted"] = [
        {"a": "b", "b": "a"}[t] if g == "ill" else t
        for t, g in zip(rows["label"], rows["group"], strict=True)
    ]
    found = compared([replace(one, table=pa.table(rows))], ["real"])
    assert found["curves"]["real"]["10"]["macro_f1"] == {"value": 0.5, "interval": [0.0, 1.0]}
    assert "2 groups of test images" in found["method"]
