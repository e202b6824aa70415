"""Nearest training cells: by cosine of the features, never the cell itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from naturalize.base.errors import SettingsError
from naturalize.base.images import content_hash, read_image, write_image
from naturalize.explain.neighbours import NEAREST, PER_CLASS, Training
from naturalize.explain.picks import Pick
from naturalize.explain.write import explain_images
from naturalize.inputs.trained_on import study_of, training_cells
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.models.zoo import build
from naturalize.prediction.predictor import TorchClassifier


class MeanColour:
    """Its features are an image's mean colour."""

    def features(self, images: list[np.ndarray]) -> np.ndarray:
        return np.array([image.mean(axis=(0, 1)) for image in images], np.float32)


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, list[Pick]]:
    """Eight plain images of two classes, one of which cannot be read."""
    picks, draw = [], np.random.default_rng(4)
    for i in range(8):
        path = f"{'AB'[i % 2]}/{i}.png"
        image = np.full((40, 40, 3), draw.integers(0, 255, 3), np.uint8)
        write_image(tmp_path / "train" / path, image)
        picks.append(Pick(f"{i:016x}", path, "AB"[i % 2]))
    (tmp_path / "train" / "B/7.png").write_bytes(b"")
    return tmp_path / "train", picks


def test_the_nearest_by_cosine(tree: tuple[Path, list[Pick]], tmp_path: Path) -> None:
    root, picks = tree
    images = [read_image(root / picks[i].path) for i in (2, 3)]
    training = Training.drawn(root, picks)
    ids = [picks[2].image_id, "of no training image"]
    found = training.nearest(MeanColour(), ids, images, tmp_path / "work", "key")
    readable = [pick for pick in picks if pick.path != "B/7.png"]
    known = MeanColour().features([read_image(root / pick.path) for pick in readable])
    alike = cosine_similarity(MeanColour().features(images), known)
    alike[0, 2] = -1  # itself
    for row, its in zip(alike, found, strict=True):
        assert [pick.path for pick, _ in its] == [readable[i].path for i in np.argsort(-row)[:3]]
        np.testing.assert_allclose([c for _, c in its], np.sort(row)[::-1][:3], atol=1e-4)
    assert found[1][0][0].path == picks[3].path


def test_classes_are_drawn_evenly_and_the_same_whatever_the_order() -> None:
    items = [Pick(f"{i}", f"{i:04d}.png", "A" if i % 5 else "B") for i in range(500)]
    one = Training.drawn(Path(), items)
    assert Training.drawn(Path(), items[::-1]) == one
    labels = [item.label for item in one.items]
    assert (labels.count("A"), labels.count("B")) == (PER_CLASS, 100)
    assert Training.drawn(Path(), items, seed=1).digest != one.digest


def test_the_artifact_shows_them(tree: tuple[Path, list[Pick]], tmp_path: Path) -> None:
    root, picks = tree
    network = build("custom_cnn", ["A", "B"], weights="none", input_size=32)
    model = TorchPredictor(network.module, network.config)
    training = Training.drawn(root, picks)
    given = {"methods": ["grad-cam"], "checks": False}
    out = explain_images(model, picks[:2], root, tmp_path / "out", training=training, **given)
    for entry in json.loads((out / "explanations.json").read_text()):
        assert len(entry["neighbours"]) == NEAREST
        for near in entry["neighbours"]:
            shown = read_image(out / near["image"])
            assert shown.shape == (40, 40, 3)
            assert near["label"] == near["path"][0]
            assert near["image_id"] != entry["image_id"]
    own = TorchClassifier(network.module, ["A", "B"], lambda _: None)
    with pytest.raises(SettingsError, match="nearest training cells need a model folder"):
        explain_images(own, picks[:2], root, tmp_path / "own", training=training, **given)


def test_where_the_training_images_are(
    tree: tuple[Path, list[Pick]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study_of("pbc11") is None
    for name in ("catalog", "split", "models/run"):
        (tmp_path / "study" / name).mkdir(parents=True)
    assert study_of(tmp_path / "study/models/run") == tmp_path / "study"
    assert training_cells(None) is None
    assert "does not lie in a study folder" in capsys.readouterr().err
    root, _ = tree
    found = training_cells(root)
    assert found is not None
    assert sorted({pick.label for pick in found.items}) == ["A", "B"]
    assert content_hash((root / "A/0.png").read_bytes()) in {p.image_id for p in found.items}
