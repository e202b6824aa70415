"""Paired comparisons, against hand-worked examples and brute force."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naturalize.base.errors import InputError, SettingsError
from naturalize.evaluation import metrics
from naturalize.evaluation.compare import (
    holm,
    mcnemar,
    paired,
    paired_seeds,
    pairs_of,
    write_comparisons,
)

CLASSES = ["EO", "LY", "MO"]


def table(true: list[str], predicted: list[str], **more: list) -> pa.Table:
    n = len(true)
    columns = {
        "image_id": more.get("image_id", [f"{i:016x}" for i in range(n)]),
        "path": more.get("path", [f"{i:04d}.png" for i in range(n)]),
        "label": true,
        "predicted": predicted,
        "confidence": pa.array([0.5] * n, pa.float32()),
    }
    sure = [[float(name == c) for name in predicted] for c in CLASSES]
    columns |= {f"prob_{c}": pa.array(p, pa.float32()) for c, p in zip(CLASSES, sure, strict=True)}
    return pa.table(columns | {"group": pa.array(more.get("group", [None] * n), pa.string())})


def _answers(n: int, seed: int, right: float) -> tuple[list[str], list[str]]:
    true = np.random.default_rng(1000).integers(0, 3, n)
    draw = np.random.default_rng(seed)
    predicted = np.where(draw.random(n) < right, true, (true + 1) % 3)
    return [CLASSES[i] for i in true], [CLASSES[i] for i in predicted]


@settings(deadline=None)  # the first call imports scipy
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 9))
def test_mcnemar_equals_the_sum_of_binomial_terms(a: int, b: int, both: int) -> None:
    right_a = np.array([True] * a + [False] * b + [True] * both, bool)
    right_b = np.array([False] * a + [True] * b + [True] * both, bool)
    tail = sum(comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b)
    found = mcnemar(right_a, right_b)
    assert found["p_value"] == pytest.approx(min(1.0, 2 * tail))
    assert (found["only_a_right"], found["only_b_right"], found["both_right"]) == (a, b, both)


def test_difference_by_hand() -> None:
    true = ["EO"] * 4 + ["LY"] * 4
    a = ["EO"] * 4 + ["LY"] * 4
    b = ["EO"] * 3 + ["LY"] * 5
    found = paired(table(true, a), table(true, b))
    # b: precision 1 and 4/5, recall 3/4 and 1, so F1 6/7 and 8/9
    f1_b = (6 / 7 + 8 / 9) / 2
    assert found["scores"]["macro_f1"]["difference"] == pytest.approx(1 - f1_b)
    assert found["scores"]["accuracy"]["difference"] == pytest.approx(1 / 8)
    assert found["mcnemar"] == {
        "both_right": 7, "only_a_right": 1, "only_b_right": 0, "both_wrong": 0, "p_value": 1.0,
    }  # fmt: skip


def test_interval_equals_resampling_images_one_by_one() -> None:
    true, a = _answers(300, 1, 0.85)
    _, b = _answers(300, 2, 0.75)
    index = [metrics.label_indices(CLASSES, names) for names in (true, a, b)]
    draw = np.random.default_rng(0)
    values = []
    for _ in range(2000):
        t, x, y = (part[rows] for rows in [draw.integers(0, 300, 300)] for part in index)
        one, other = (metrics.summary(metrics.confusion_matrix(t, p, 3)) for p in (x, y))
        values.append(float(one["macro_f1"] - other["macro_f1"]))
    found = paired(table(true, a), table(true, b))["scores"]["macro_f1"]["interval"]
    assert found == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.01)


def test_pairing_makes_the_interval_narrower_than_two_bare_ones() -> None:
    true, a = _answers(500, 1, 0.8)
    b = list(a)
    b[:5] = true[:5]  # nearly the same answers
    low, high = paired(table(true, a), table(true, b))["scores"]["accuracy"]["interval"]
    assert high - low < 0.03


def test_swapping_the_two_turns_the_sign() -> None:
    true, a = _answers(200, 1, 0.9)
    _, b = _answers(200, 2, 0.7)
    one = paired(table(true, a), table(true, b))["scores"]["macro_f1"]
    other = paired(table(true, b), table(true, a))["scores"]["macro_f1"]
    assert one["difference"] == pytest.approx(-other["difference"])
    assert one["interval"][0] > 0 > other["interval"][1]


def test_order_of_rows_does_not_matter() -> None:
    true, a = _answers(100, 1, 0.9)
    _, b = _answers(100, 2, 0.7)
    shuffled = table(true, b).take(np.random.default_rng(0).permutation(100))
    assert paired(table(true, a), shuffled) == paired(table(true, a), table(true, b))


def test_groups_widen_the_interval() -> None:
    true, a = _answers(100, 1, 0.9)
    _, b = _answers(100, 2, 0.7)
    groups = [f"g{i // 5}" for i in range(500)]
    true, a, b = ([name for name in names for _ in range(5)] for names in (true, a, b))
    by_image = paired(table(true, a), table(true, b))["scores"]["accuracy"]["interval"]
    grouped = paired(table(true, a, group=groups), table(true, b, group=groups))
    low, high = grouped["scores"]["accuracy"]["interval"]
    assert (high - low) > 1.8 * (by_image[1] - by_image[0])
    assert "100 groups" in grouped["method"]


def test_models_of_different_classes_compare_over_both() -> None:
    true = ["EO", "LY", "LY"]
    small = table(true, ["EO", "LY", "LY"]).drop_columns(["prob_MO"])
    assert paired(small, table(true, ["EO", "MO", "LY"]))["scores"]["accuracy"]["a"] == 1


def test_different_images_are_refused_unless_asked_for() -> None:
    a, b = table(["EO"] * 4, ["EO"] * 4), table(["EO"] * 3, ["LY"] * 3)
    with pytest.raises(InputError, match=r"3 in both, 1 in the first only, 0 in the second"):
        paired(a, b)
    found = paired(a, b, common_only=True)
    assert (found["n"], found["n_only_a"], found["n_only_b"]) == (3, 1, 0)


def test_bad_input_is_named() -> None:
    a = table(["EO", "LY"], ["EO", "LY"])
    with pytest.raises(InputError, match="no image in common"):
        paired(a, table(["EO"], ["EO"], image_id=["f" * 16]))
    with pytest.raises(InputError, match=r"0001\.png is 'LY' in the first evaluation and 'MO'"):
        paired(a, table(["EO", "MO"], ["EO", "LY"]))
    with pytest.raises(SettingsError, match="resamples"):
        paired(a, a, resamples=1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_comparisons_of_all_pairs_are_written(tmp_path: Path) -> None:
    from naturalize.base.artifacts import write_table, writing

    true, _ = _answers(90, 1, 0.95)
    paths = {}
    for run, seed in (("plain", 1), ("more", 2), ("most", 3)):
        paths[run] = tmp_path / run
        with writing(paths[run], "evaluation") as folder:
            write_table(folder / "predictions.parquet", table(true, _answers(90, seed, 0.8)[1]))
    written = write_comparisons(paths, tmp_path / "comparisons.json", seed=3)
    assert json.loads((tmp_path / "comparisons.json").read_text()) == written
    assert [(pair["a"], pair["b"]) for pair in written] == [
        ("plain", "more"), ("plain", "most"), ("more", "most"),
    ]  # fmt: skip
    for pair in written:
        assert pair["p_value"] >= pair["mcnemar"]["p_value"]
        assert pair["interval"][0] <= pair["macro_f1_difference"] <= pair["interval"][1]
    assert write_comparisons({"plain": paths["plain"]}, tmp_path / "one.json") == []


def _folder(path: Path, predictions: pa.Table) -> None:
    from naturalize.base.artifacts import write_table, writing

    with writing(path, "evaluation") as folder:
        write_table(folder / "predictions.parquet", predictions)


def test_seeds_are_averaged_and_paired_by_name(tmp_path: Path) -> None:
    true, _ = _answers(200, 1, 0.9)
    for arm, right in (("more", 0.9), ("plain", 0.8)):
        for seed in range(3):
            answers = _answers(200, 10 * seed + (arm == "plain"), right)[1]
            _folder(tmp_path / arm / f"seed-{seed}", table(true, answers))
    pairs = pairs_of(tmp_path / "more", tmp_path / "plain")
    assert list(pairs) == ["seed-0", "seed-1", "seed-2"]
    found = paired_seeds(list(pairs.values()))
    each = [paired(*pair)["scores"]["accuracy"]["difference"] for pair in pairs.values()]
    row = found["scores"]["accuracy"]
    assert row["by_seed"] == pytest.approx(each)
    assert row["difference"] == pytest.approx(np.mean(each))
    assert row["interval"][0] < row["difference"] < row["interval"][1]
    assert (found["seeds"], found["mcnemar"]) == (3, None)
    assert found["classes"]["EO"]["a"] == pytest.approx(
        np.mean([metrics.scores(CLASSES, true, t["predicted"].to_pylist())["per_class"]["EO"]["f1"]
                 for t, _ in pairs.values()])
    )  # fmt: skip


def test_interval_over_seeds_has_the_width_of_their_spread() -> None:
    """All images alike, so only seeds vary: the standard error of a mean of four."""
    true = ["EO"] * 400
    shares = (0.5, 0.6, 0.7, 0.8)
    tables = [table(true, ["EO"] * int(400 * s) + ["LY"] * int(400 - 400 * s)) for s in shares]
    found = paired_seeds([(one, table(true, true)) for one in tables], resamples=4000)
    low, high = found["scores"]["accuracy"]["interval"]
    images = np.mean([s * (1 - s) / 400 for s in shares])  # at most: errors are shared by seeds
    expected = 2 * 1.96 * np.sqrt(np.var(shares, ddof=1) / 4 + images)
    assert high - low == pytest.approx(expected, rel=0.15)


def test_folders_of_seeds_must_match(tmp_path: Path) -> None:
    one = table(["EO", "LY"], ["EO", "LY"])
    for name in ("a/0", "a/1", "b/0", "c"):
        _folder(tmp_path / name, one)
    with pytest.raises(InputError, match=r"a holds 0, 1; .*b holds 0; give both the same names"):
        pairs_of(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="c holds one evaluation"):
        pairs_of(tmp_path / "a", tmp_path / "c")
    with pytest.raises(InputError, match="expected a pair"):
        paired_seeds([])


def test_forest_plot_and_json_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from naturalize.cli.compare import compare

    true, a = _answers(60, 1, 0.9)
    _folder(tmp_path / "a", table(true, a))
    _folder(tmp_path / "b", table(true, _answers(60, 2, 0.5)[1]))
    files = {"out": tmp_path / "d.json", "forest": tmp_path / "d.svg"}
    compare(tmp_path / "a", tmp_path / "b", resamples=100, **files)
    assert "F1 of MO" in capsys.readouterr().out
    assert "F1 of MO" in files["forest"].read_text()
    assert json.loads(files["out"].read_text())["seeds"] == 1
    with pytest.raises(SettingsError, match=r"ends in \.png or \.svg"):
        compare(tmp_path / "a", tmp_path / "b", forest=tmp_path / "d.pdf")
