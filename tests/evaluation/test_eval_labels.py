"""The label audit: injected mistakes are found, and what cannot be checked is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from naturalize.base.errors import InputError, SettingsError
from naturalize.base.images import read_image, write_image
from naturalize.cli.audit_labels import audit_labels as command
from naturalize.evaluation.agreement import read_agreed
from naturalize.evaluation.labels import audit_labels, cross_validated, doubts
from naturalize.evaluation.predictions import Item


def _clusters(n: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.arange(n) % classes
    return 4 * np.eye(classes, 8)[labels] + draw.normal(size=(n, 8)), labels


class MeanColour:
    """An encoder whose features are the mean colour."""

    weights_hash = "mean colour"

    def features(self, images: Iterable[np.ndarray]) -> np.ndarray:
        return np.array([image.mean(axis=(0, 1)) for image in images], np.float32)


def test_flipped_labels_come_first_and_are_named() -> None:
    features, labels = _clusters()
    draw = np.random.default_rng(1)
    flipped = draw.choice(400, 20, replace=False)
    given = labels.copy()
    given[flipped] = (given[flipped] + draw.integers(1, 4, 20)) % 4
    doubt, likelier, wrong = doubts(cross_validated(features, given), given)
    first = np.argsort(-doubt)[:40]
    assert np.isin(flipped, first).mean() >= 0.9
    assert (likelier[flipped] == labels[flipped]).mean() >= 0.9
    assert wrong[flipped].mean() >= 0.9
    assert wrong[np.setdiff1d(np.arange(400), flipped)].mean() <= 0.1


def test_the_confident_joint_by_hand() -> None:
    # the usual p of class 0 over its images is 0.7, that of class 1 is 0.5
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.8, 0.2]])
    doubt, likelier, wrong = doubts(p, np.array([0, 0, 1, 1]))
    assert doubt == pytest.approx([0.7 / 1.6, 0.7 / 1.2, 0.5 / 1.3, 0.5 / 0.7])
    assert likelier.tolist() == [1, 1, 0, 0]
    assert wrong.tolist() == [False, True, False, True]


def test_a_group_is_never_asked_about_after_learning_from_it() -> None:
    """Twins with one feature apiece: alone each is known by its twin, as a group it is not."""
    draw = np.random.default_rng(0)
    single = draw.normal(size=(60, 40))
    labels = np.repeat(draw.integers(0, 2, 60), 2)
    features, groups = np.repeat(single, 2, axis=0), [f"p{i // 2}" for i in range(120)]
    own = [
        cross_validated(features, labels, groups=g)[np.arange(120), labels].mean()
        for g in (None, groups)
    ]
    assert own[0] > own[1]
    apart = cross_validated(features, labels, groups=groups)
    assert apart[::2] == pytest.approx(apart[1::2])  # twins are always held out together


def test_what_cannot_be_checked_is_refused() -> None:
    features, labels = _clusters(40)
    with pytest.raises(InputError, match="two classes of two images"):
        cross_validated(features, np.zeros(40, int))
    with pytest.raises(InputError, match="NaN"):
        cross_validated(features * np.nan, labels)
    with pytest.raises(InputError, match="expected 39 rows"):
        cross_validated(features, labels[1:])
    with pytest.raises(SettingsError, match="folds"):
        cross_validated(features, labels, folds=1)
    groups = ["one" if k == 0 else f"p{i}" for i, k in enumerate(labels)]
    with pytest.raises(InputError, match="class number 0: all its images are in one group"):
        cross_validated(features, labels, groups=groups)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    draw = np.random.default_rng(0)
    for k, label in enumerate(("EO", "LY")):
        for i in range(12):
            image = draw.integers(0, 60, (24, 24, 3)).astype(np.uint8)
            image[..., k if i else 1 - k] += 150  # the first of each class is of the other
            write_image(root / label / f"{label}_{i}.png", image)
    return root


def test_the_table_the_sheet_and_what_cannot_be_read(tree: Path, tmp_path: Path) -> None:
    (tree / "EO" / "EO_99.png").write_bytes(b"torn")
    paths = sorted(tree.rglob("*.png"))
    items = [Item(f"{i:016x}", p.relative_to(tree).as_posix(), p.parent.name)
             for i, p in enumerate(paths)]  # fmt: skip
    out = tmp_path / "audit"
    found = audit_labels(MeanColour(), items, tree, out, shown=4)
    assert found == json.loads((out / "labels.json").read_text())
    assert (found["n"], [entry["path"] for entry in found["skipped"]]) == (24, ["EO/EO_99.png"])
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    assert {row["image"] for row in rows[:2]} == {"EO/EO_0.png", "LY/LY_0.png"}
    assert (rows[0]["agreed"], rows[-1]["agreed"]) == ("no", "yes")
    assert read_agreed(out / "labels.csv")["EO/EO_0.png"] is False
    assert read_image(out / "doubtful.jpg").ndim == 3
    assert not (tmp_path / ".audit.work").exists()


def test_one_image_of_a_class_is_refused(tree: Path, tmp_path: Path) -> None:
    items = [Item("0" * 16, "EO/EO_0.png", "EO"), Item("1" * 16, "EO/EO_1.png", "EO")]
    items.append(Item("2" * 16, "LY/LY_1.png", "LY"))
    with pytest.raises(InputError, match=r"nothing to be compared with: LY \(1\)"):
        audit_labels(MeanColour(), items, tree, tmp_path / "audit")


def test_the_command_prints_what_it_found(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tree, tmp_path / "audit", encoder="custom_cnn", weights="none", engine="serial")
    assert "24 labels, " in capsys.readouterr().out
