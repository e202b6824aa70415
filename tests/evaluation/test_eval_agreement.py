"""Scores on images whose label another source confirms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from naturalize.base.errors import InputError
from naturalize.evaluation.agreement import confirmed, read_agreed
from naturalize.evaluation.evaluate import score_table

TABLE = pa.table(
    {
        "image_id": ["a" * 16, "b" * 16, "c" * 16, "d" * 16],
        "path": ["one/1.png", "one/2.png", "two/1.png", "two/4.png"],
    }
)


def _file(folder: Path, text: str) -> Path:
    file = folder / "agreed.csv"
    file.write_text(text)
    return file


def test_images_are_named_by_path_file_name_or_id(tmp_path: Path) -> None:
    text = "image;agreed\none/1.png;yes\n4.png;TRUE\n" + "b" * 16 + ";1\ntwo/1.png;no\n"
    found = confirmed(TABLE, read_agreed(_file(tmp_path, text)))
    assert found.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,agreed\none/1.png,perhaps\n", "line 2: agreed: expected yes or no"),
        ("image,agreed\nx.png,yes\nx.png,no\n", "with another answer"),
        ("image,agreed\n", "has no row"),
        ("image,other\nx.png,yes\n", "agreed"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_agreed(_file(tmp_path, text))


def test_a_table_of_other_images_and_a_doubled_name_are_refused() -> None:
    with pytest.raises(InputError, match="none of 4 images is confirmed, 0 are in the table"):
        confirmed(TABLE, {"else.png": True})
    with pytest.raises(InputError, match="none of 4 images is confirmed, 1 are in the table"):
        confirmed(TABLE, {"4.png": False})
    with pytest.raises(InputError, match=r"1\.png is the name of several images"):
        confirmed(TABLE, {"1.png": True})


def test_scores_hold_ranks_and_stages_and_refuse_what_is_no_probability() -> None:
    labels, p = ["PMY", "MY", "MMY"], np.eye(3, dtype=np.float32)[[0, 1, 1, 2] * 30]
    columns = {
        "label": ["PMY", "MY", "MMY", "MMY"] * 30,
        "predicted": ["PMY", "MY", "MY", "MMY"] * 30,
        "confidence": p.max(axis=1),
    }
    table = pa.table(columns | {f"prob_{name}": p[:, k] for k, name in enumerate(labels)})
    found = score_table(table, protocol="honest", resamples=100)
    assert found["accuracy"] == 0.75
    assert found["tolerant_accuracy"] == 1
    assert found["stage_cost"] == 0.25
    assert found["top_2_accuracy"] == 0.75  # of equal guesses the first class counts
    assert found["macro_auc"] == pytest.approx((1 + (1 - 30 / 90 / 2) + (0.5 + 0.5 / 2)) / 3)
    assert set(found["intervals"]) <= set(found)
    assert set(found["per_class_intervals"]["MY"]) == {
        "precision", "recall", "f1", "auc", "average_precision",
    }  # fmt: skip
    doubled = table.set_column(table.column_names.index("prob_MY"), "prob_MY", [p[:, 1] + 1])
    with pytest.raises(InputError, match="sum to one"):
        score_table(doubled, protocol="honest", resamples=100)
