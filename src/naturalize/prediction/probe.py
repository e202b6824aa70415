"""Any encoder as a model: a linear probe, or nearest neighbours, on its frozen features.

What stands beside a trained network: how far do features that were learnt elsewhere carry?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError, InputError, unknown
from naturalize.base.images import content_hash, read_image
from naturalize.models.config import NetworkConfig, Standard
from naturalize.models.predictor import NetworkPredictor
from naturalize.models.torch_predictor import TorchPredictor
from naturalize.prediction.standardise import Standardiser

#: What may stand on the features.
PROBES = ("linear", "knn")

#: Neighbours and their distance, as usual for frozen features (Caron et al., ICCV 2021).
_NEIGHBOURS, _DISTANCE = 20, "cosine"

#: Steps of the logistic regression at most; its strength of regularisation is scikit-learn's.
_STEPS = 2000


class Probe(NetworkPredictor):
    """A frozen encoder with a classifier on its features.

    Parameters
    ----------
    encoder
        What gives features.
    classifier
        A fitted scikit-learn classifier with ``predict_proba``.
    config
        The encoder's configuration, with the classifier's classes and the standard to bring images
        from elsewhere to.
    fitted_on
        What names the training images and their labels.
    """

    def __init__(
        self, encoder: TorchPredictor, classifier: Any, config: NetworkConfig, fitted_on: str
    ) -> None:
        self.encoder, self.classifier, self.config = encoder, classifier, config
        self._hash = content_hash(f"{encoder.weights_hash} {classifier} {fitted_on}".encode())

    @property
    def weights_hash(self) -> str:
        """What names the encoder's weights, the classifier, and what it was fitted on."""
        return self._hash

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the probability of each class for each image; see `Predictor`."""
        features = self.encoder.features(images, batch=batch, what=what)
        if not len(features):
            return np.empty((0, len(self.classes)), np.float32)
        return self.classifier.predict_proba(features).astype(np.float32)


def fit_probe(
    encoder: str,
    images: Sequence[tuple[Path, str]],
    standard: Standard | None,
    *,
    how: str = "linear",
    weights: str = "imagenet",
    standardise: str = "auto",
    device: str = "cpu",
) -> Probe:
    """Fit a classifier on an encoder's features of labelled images.

    Parameters
    ----------
    encoder
        A name of a network; see `naturalize.models.zoo.build`.
    images
        Files and their classes. Those that do not look like the ``standard``'s are standardised, as
        what is predicted later will be; unreadable ones are left out.
    standard
        What images from elsewhere are brought to, but for the bare slide around a cell: the probe
        learns images as they are. Null: all are taken as they are.
    how
        ``linear`` (logistic regression, classes balanced) or ``knn``.
    weights
        The encoder's; see `naturalize.models.zoo.build`.

    Raises
    ------
    SettingsError
        For an unknown encoder or probe, or absent weights.
    InputError
        If fewer than two classes can be read.
    """
    from naturalize.models.zoo import build

    if how not in PROBES:
        raise unknown("probe", how, list(PROBES))
    labels = sorted({label for _, label in images})
    if len(labels) < 2:
        raise InputError(f"a probe needs images of two classes or more, got {', '.join(labels)}")
    network = build(encoder, labels, weights=weights)
    opened = TorchPredictor(network.module, network.config, device=device)
    paths = [path for path, _ in images]
    standard = replace(standard, alone=False) if standard is not None else None
    standardiser = Standardiser(standard, standardise).learn(paths)

    def prepared(path: Path) -> np.ndarray | None:
        try:
            return standardiser(read_image(path)).image
        except ImageReadError:
            return None

    seen: list[str] = []

    def readable() -> Iterable[np.ndarray]:
        made = track(prefetched(prepared, paths), f"features of {encoder}", len(paths))
        for image, (_, label) in zip(made, images, strict=True):
            if image is not None:
                seen.append(label)
                yield image

    features = opened.features(readable())
    if len(set(seen)) < 2:
        raise InputError(f"a probe needs two classes whose images can be read, got {set(seen)}")
    classifier = _classifier(how, len(seen)).fit(features, seen)
    config = replace(
        network.config, classes=tuple(map(str, classifier.classes_)), standard=standard
    )
    named = "\n".join(f"{path.name}\t{label}" for path, label in images)
    return Probe(opened, classifier, config, named)


def _classifier(how: str, n: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if how == "knn":
        k = min(_NEIGHBOURS, n)
        return KNeighborsClassifier(k, metric=_DISTANCE, weights="distance")
    linear = LogisticRegression(max_iter=_STEPS, class_weight="balanced")
    return make_pipeline(StandardScaler(), linear)
