"""How well a cell of a class that a network never saw is told from those it knows.

    python -m benchmarks.unseen IMAGES [--train 200] [--model pbc11] [--cache FILE]

IMAGES are cell images named PREFIX_NUMBER as PBC's are. *Left out*: a linear classifier on the
pooled features of ImageNet's EfficientNet-Lite0 (192 px, frozen, so no image of the class ever
taught it) learns all classes but one from ``--train`` images of each; its limit is fitted on
validation images (`naturalize.models.doubt`), and test images of the class left out stand against
those of the others. *Pictures*: the same for ``--model``, on images not in its
``training_images.txt``, half of them to fit the limit, half beside pictures of no class: white
cells taken out, corners turned inward (red cells in the middle), phantoms, text. AUROC of the
score, and of the reference that needs no fitting, one less the greatest probability; *found*: share
above the limit; *alarms*: the same of known images.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.unlike_images import changes, drawn, without_cell
from naturalize.base.engine import prefetched
from naturalize.base.images import content_hash, read_image
from naturalize.base.rng import rng
from naturalize.base.walk import find_images
from naturalize.dataset.phantom import CLASSES, render_phantom
from naturalize.dataset.schemes import SCHEMES
from naturalize.models.doubt import Doubt, fit_doubt
from naturalize.models.folder import TRAINING_IMAGES
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.models.shipped import find

#: Images of each class: of validation and test, and pictures of each kind.
_VALIDATION, _TEST, _PICTURES = 45, 90, 60


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--model", default="pbc11")
    parser.add_argument("--cache", type=Path, help="features kept between runs (.npz)")
    options = parser.parse_args()
    prefixes = SCHEMES["pbc11"].prefixes
    by_class: dict[str, list[Path]] = {}
    for path in find_images([options.images]):
        if label := prefixes.get(path.stem.rsplit("_", 1)[0]):
            by_class.setdefault(label, []).append(path)
    for label, paths in by_class.items():
        by_class[label] = [paths[i] for i in rng(0, "unseen", label).permutation(len(paths))]
    print("| shown | AUROC | of the greatest probability | found | alarms |\n|---|--:|--:|--:|--:|")
    left_out(*_features(by_class, options.train, options.cache))
    pictures(options.model, by_class)


def _features(
    by_class: dict[str, list[Path]], train: int, cache: Path | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features (N, D), labels and parts (0 train, 1 validation, 2 test) of images."""
    if cache is not None and cache.is_file():
        kept = np.load(cache)
        return kept["features"], kept["labels"], kept["parts"]
    from naturalize.models.torch_predictor import TorchPredictor
    from naturalize.models.zoo import build

    network = build("tf_efficientnet_lite0", 2, weights="imagenet", input_size=192)
    # pbc11's view: the middle of an image, its slide's colour no matter
    config = replace(network.config, crop=0.72, balanced=True)
    predictor = TorchPredictor(network.module, config)
    paths: list[Path] = []
    labels: list[str] = []
    parts: list[int] = []
    for label, all_of_them in by_class.items():
        its = all_of_them[: train + _VALIDATION + _TEST]
        held = min(len(its), _VALIDATION + _TEST)
        paths += its
        labels += [label] * len(its)
        parts += [2 if i < _TEST else 1 if i < held else 0 for i in range(len(its))]
    found = predictor.features(prefetched(read_image, paths, window=32), what="features")
    if cache is not None:
        np.savez(cache, features=found, labels=np.array(labels), parts=np.array(parts))
    return found, np.array(labels), np.array(parts)


def left_out(features: np.ndarray, labels: np.ndarray, parts: np.ndarray) -> None:
    """Print a row for each class that is left out, and their mean."""
    rows = []
    mean = features[parts == 0].mean(axis=0)
    directions = np.linalg.svd(features[parts == 0] - mean, full_matrices=False)[2][:128]
    reduced = (features - mean) @ directions.T
    reduced /= reduced[parts == 0].std(axis=0).mean()
    for name in np.unique(labels):
        others, own = labels != name, (labels == name) & (parts > 0)
        train, val, test = (others & (parts == k) for k in range(3))
        head = LogisticRegression(C=0.02, max_iter=60).fit(reduced[train], labels[train])
        logits = reduced @ head.coef_.T + head.intercept_
        classes = head.classes_.tolist()
        true = np.searchsorted(head.classes_, labels[val])
        fitted = fit_doubt(classes, logits[val], softmax(logits[val], axis=1), true)
        assert fitted is not None
        rows.append(_row(f"{name} left out", fitted, logits[test], logits[own], 1.0))
    print("| **mean of the classes** | " + " | ".join(f"{v:.3f}" for v in np.mean(rows, 0)) + " |")


def pictures(model: str, by_class: dict[str, list[Path]]) -> None:
    """Print a row for each kind of picture that is of no class."""
    folder = find(model)
    predictor, draw = Predictor.load(folder), rng(0, "unseen")
    seen = set((folder / TRAINING_IMAGES).read_text().split())
    unseen = [
        (path, label)
        for label, paths in by_class.items()
        for path in paths
        if content_hash(path.read_bytes()) not in seen
    ]
    paths = [path for path, _ in unseen]
    logits = _logits(predictor, (read_image(path) for path in paths))
    true = np.array([predictor.classes.index(label) for _, label in unseen])
    half, sure = np.arange(len(true)) % 2 == 0, predictor.config.temperature
    fitted = fit_doubt(
        predictor.classes, logits[half], softmax(logits[half] / sure, axis=1), true[half]
    )
    assert fitted is not None
    shown = [paths[i] for i in draw.permutation(len(paths))[:_PICTURES]]
    turned = changes(draw)["cut into four, corners inward"]
    kinds: dict[str, Iterable[np.ndarray]] = {
        "white cells taken out": without_cell(shown),
        "red cells in the middle": (turned(read_image(path)) for path in shown),
        "phantoms": (render_phantom(CLASSES[i % 11], 0, i).image for i in range(_PICTURES)),
        "text": drawn(draw, _PICTURES)["text"],
    }
    for what, made in kinds.items():
        _row(what, fitted, logits[~half], _logits(predictor, made), sure)


def _logits(predictor: NetworkPredictor, images: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([predictor.logits([np.ascontiguousarray(image)]) for image in images])


def _row(
    what: str, fitted: Doubt, known: np.ndarray, other: np.ndarray, t: float
) -> Sequence[float]:
    strange = [fitted.strangeness(each) for each in (known, other)]
    plain = [1 - softmax(each / t, axis=1).max(axis=1) for each in (known, other)]
    truth = np.repeat([0, 1], [len(known), len(other)])
    row = [float(roc_auc_score(truth, np.concatenate(each))) for each in (strange, plain)]
    row += [float((strange[1] > 0).mean()), float((strange[0] > 0).mean())]
    print(f"| {what} ({len(other)}) | " + " | ".join(f"{v:.3f}" for v in row) + " |", flush=True)
    return row


if __name__ == "__main__":
    main()
