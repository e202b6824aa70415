"""A model's classes merged into those of the images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import write_image
from naturalize.evaluation.compare import paired
from naturalize.evaluation.evaluate import evaluate, read_metrics
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import Item, read_predictions
from naturalize.models.predictor import Predictor

ELEVEN = ["BA", "BNE", "EO", "ERB", "LY", "MMY", "MO", "MY", "PLT", "PMY", "SNE"]
FIVE = Merge.parse("Neutrophil=BNE+SNE,Eosinophil=EO,Lymphocyte=LY,Monocyte=MO,Basophil=BA")


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


@st.composite
def probabilities(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 6))
    return softmax(draw(arrays(np.float64, (n, 11), elements=st.floats(-30, 30))))


@st.composite
def merges(draw: st.DrawFn) -> Merge:
    """Some of the classes dealt out to new ones."""
    to = draw(st.lists(st.sampled_from(["", "P", "Q", "R"]), min_size=11, max_size=11))
    parts = {name: tuple(c for c, t in zip(ELEVEN, to, strict=True) if t == name) for name in "PQR"}
    return Merge({k: v for k, v in parts.items() if v})


@settings(deadline=None)
@given(probabilities(), merges())
def test_merging_sums_and_loses_nothing(shares: np.ndarray, merge: Merge) -> None:
    names, merged = merge.names(ELEVEN), merge.apply(shares, ELEVEN)
    assert merged.dtype == np.float32
    assert merged.shape == (len(shares), len(names))
    np.testing.assert_allclose(merged.sum(axis=1), 1, atol=1e-5)
    for i, name in enumerate(names):
        of = merge.classes.get(name, (name,))
        expected = sum(shares[:, ELEVEN.index(part)].astype(np.float64) for part in of)
        np.testing.assert_allclose(merged[:, i], expected, atol=1e-6)
    assert merged.max() <= 1


@settings(deadline=None)
@given(probabilities(), merges().filter(lambda m: bool(m.classes)))
def test_asking_only_for_mapped_classes_keeps_their_proportions(
    shares: np.ndarray, merge: Merge
) -> None:
    only = Merge(merge.classes, only=True)
    assert set(only.names(ELEVEN)) == set(merge.classes)
    found, kept = only.apply(shares, ELEVEN), merge.apply(shares, ELEVEN)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    columns = [merge.names(ELEVEN).index(name) for name in only.names(ELEVEN)]
    total = kept[:, columns].sum(axis=1, keepdims=True)
    known = total[:, 0] > 1e-6
    np.testing.assert_allclose(
        found[known], (kept[:, columns] / total)[known], rtol=1e-3, atol=1e-5
    )


def test_no_merge_changes_nothing() -> None:
    shares = softmax(np.random.default_rng(0).normal(size=(4, 11)))
    np.testing.assert_array_equal(Merge().apply(shares, ELEVEN), shares)
    assert Merge().names(ELEVEN) == ELEVEN
    assert Merge().described() is None


def test_a_merged_class_stands_where_its_first_part_stood() -> None:
    assert FIVE.names(ELEVEN) == [
        "Basophil", "Neutrophil", "Eosinophil", "ERB", "Lymphocyte", "MMY", "Monocyte", "MY", "PLT",
        "PMY",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["Neutrophil", "=EO", "N=", "N=BNE+", "N=BNE,", "", "N=BNE,N=SNE"])
def test_maps_of_another_form_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="--map"):
        Merge.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("N=BNE+SNF", "'SNF'.*did you mean 'SNE'"),
        ("N=BNE,M=BNE", "BNE goes to N and M"),
        ("N=BNE+BNE", "BNE goes to N twice"),
        ("EO=BA", "EO is a class of the model too"),
    ],
)
def test_maps_that_do_not_fit_the_model_are_named(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Merge.parse(text).names(ELEVEN)


def test_only_without_a_map_is_an_error() -> None:
    with pytest.raises(SettingsError, match="say with --map"):
        Merge.parse(None, only=True)


def test_a_class_that_no_image_has_is_remarked() -> None:
    (remark,) = Merge({"Neutrofil": ("BNE",), "LY": ("LY",)}).unused(["LY", "Neutrophil"])
    assert "did you mean 'Neutrophil'" in remark


def test_a_model_that_rules_the_mapped_classes_out_is_undecided() -> None:
    certain = np.eye(11, dtype=np.float32)[[ELEVEN.index("PLT")]]
    np.testing.assert_allclose(Merge(FIVE.classes, only=True).apply(certain, ELEVEN), 0.2)


class Fixed:
    """Gives each image the row of probabilities that its first pixel names; counts the images."""

    classes = tuple(ELEVEN)

    def __init__(self, table: np.ndarray, *, dies_after: int | None = None) -> None:
        self.table, self.dies_after, self.seen = table, dies_after, 0

    def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
        rows = []
        for image in images:
            self.seen += 1
            if self.dies_after is not None and self.seen > self.dies_after:
                raise KeyboardInterrupt
            rows.append(self.table[int(image[0, 0, 0])])
        return np.array(rows, np.float32).reshape(-1, 11)


@pytest.fixture(scope="module")
def other_laboratory(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Item]]:
    """150 images of five classes, named otherwise than the model's."""
    root, items = tmp_path_factory.mktemp("other"), []
    for i in range(150):
        write_image(root / f"{i}.png", np.full((4, 4, 3), i, np.uint8))
        items.append(Item(f"{i:016x}", f"{i}.png", list(FIVE.classes)[i % 5]))
    return root, items


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """Probabilities that mean the right class more often than not."""
    logits = np.random.default_rng(3).normal(size=(150, 11))
    for i, parts in enumerate(list(FIVE.classes.values()) * 30):
        logits[i, ELEVEN.index(parts[i % len(parts)])] += 1.5
    return softmax(logits)


@pytest.mark.parametrize("only", [False, True])
def test_scores_over_the_images_classes_are_scikit_learns(
    tmp_path: Path, other_laboratory: tuple[Path, list[Item]], table: np.ndarray, only: bool
) -> None:
    from sklearn import metrics as oracle

    root, items = other_laboratory
    merge = Merge(FIVE.classes, only)
    out = evaluate(Fixed(table), items, root, tmp_path / "out", merge=merge)
    result = read_metrics(out)
    names = merge.names(ELEVEN)
    columns = {
        name: sum(table[:, ELEVEN.index(p)] for p in FIVE.classes.get(name, (name,)))
        for name in names
    }
    predicted = [names[i] for i in np.argmax(list(columns.values()), axis=0)]
    true, present = [item.label for item in items], sorted(FIVE.classes)
    macro = oracle.precision_recall_fscore_support(
        true, predicted, labels=present, average="macro", zero_division=0
    )[:3]
    found = [result[f"macro_{what}"] for what in ("precision", "recall", "f1")]
    np.testing.assert_allclose(found, macro, atol=1e-12)
    assert result["accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)  # of answers that name a class which is not in the data
        balanced = oracle.balanced_accuracy_score(true, predicted)
    assert result["balanced_accuracy"] == pytest.approx(balanced)
    np.testing.assert_array_equal(
        result["confusion"], oracle.confusion_matrix(true, predicted, labels=names)
    )
    assert set(result["absent"]) == set(names) - set(present)
    assert result["merged"]["only"] is only
    assert read_predictions(out)["predicted"].to_pylist() == predicted
    for name, (low, high) in result["intervals"].items():
        assert low <= result[name] <= high
    assert (out / "confusion.svg").stat().st_size > 1000


def test_another_map_is_another_evaluation_of_the_same_predictions(
    tmp_path: Path, other_laboratory: tuple[Path, list[Item]], table: np.ndarray
) -> None:
    root, items = other_laboratory
    with pytest.raises(KeyboardInterrupt):
        evaluate(Fixed(table, dies_after=100), items, root, tmp_path / "out", merge=FIVE)
    again = Fixed(table)
    only = Merge(FIVE.classes, only=True)
    evaluate(again, items, root, tmp_path / "out", merge=only)
    assert again.seen == 150 - 64  # the first piece was kept
    other = evaluate(Fixed(table), items, root, tmp_path / "other", merge=FIVE)
    assert read_manifest(other).fingerprint != read_manifest(tmp_path / "out").fingerprint


def test_labels_outside_the_map_are_refused_or_dropped(
    tmp_path: Path, other_laboratory: tuple[Path, list[Item]], table: np.ndarray
) -> None:
    root, items = other_laboratory
    some = Merge({"Neutrophil": ("BNE", "SNE"), "Monocyte": ("MO",)}, only=True)
    with pytest.raises(InputError, match=r"Basophil \(30\).*it knows Neutrophil, Monocyte.*--map"):
        evaluate(Fixed(table), items, root, tmp_path / "out", merge=some)
    out = evaluate(
        Fixed(table), items, root, tmp_path / "out", merge=some, unknown_labels="drop",
        left_out={"dropped_labels": {"IG": 3}, "n_copies": 2},
    )  # fmt: skip
    result = read_metrics(out)
    assert result["dropped_labels"] == {
        "IG": 3, "Basophil": 30, "Eosinophil": 30, "Lymphocyte": 30
    }  # fmt: skip
    assert (result["n"], result["n_copies"], result["absent"]) == (60, 2, [])


class Prepared(Fixed, Predictor):
    classes = Fixed.classes
    prepared = "five on"


def test_what_a_predictor_does_to_images_first_is_written_down(
    tmp_path: Path, other_laboratory: tuple[Path, list[Item]], table: np.ndarray
) -> None:
    root, items = other_laboratory
    out = evaluate(Prepared(table), items, root, tmp_path / "out", merge=FIVE)
    plain = evaluate(Fixed(table), items, root, tmp_path / "plain", merge=FIVE)
    assert read_metrics(plain)["prepared"] is None
    assert read_metrics(out)["prepared"] == "five on"
    assert read_manifest(out).settings["prepared"] == "five on"


def test_an_image_without_a_cell_is_a_wrong_answer_whatever_is_merged(
    tmp_path: Path, other_laboratory: tuple[Path, list[Item]], table: np.ndarray
) -> None:
    root, items = other_laboratory
    empty = table.copy()
    empty[:20] = np.float32(1 / 11)  # neutrophils, of two classes, would be the likeliest
    out = evaluate(Prepared(empty), items, root, tmp_path / "out", merge=FIVE)
    result, found = read_metrics(out), read_predictions(out).to_pydict()
    assert (result["n"], result["n_no_cell"], result["labels"][-1]) == (150, 20, "no cell")
    assert found["predicted"].count("no cell") == 20
    right = np.equal(found["label"], found["predicted"])
    assert not right[np.array([p == "no cell" for p in found["predicted"]])].any()
    assert result["accuracy"] == pytest.approx(right.mean())
    same = paired(read_predictions(out), read_predictions(out), resamples=100)
    assert same["scores"]["accuracy"]["difference"] == 0
    taken = evaluate(Fixed(empty), items, root, tmp_path / "plain", merge=FIVE)
    assert read_metrics(taken)["n_no_cell"] == 0
