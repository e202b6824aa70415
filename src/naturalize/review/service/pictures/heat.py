"""Where a model looked in a picture of a cell, as the page shows it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from naturalize.explain.methods import default_methods, explain
from naturalize.explain.overlay import fitted, overlay
from naturalize.models.predictor import Predictor
from naturalize.prediction.predictor import network_for
from naturalize.prediction.standardise import Standardiser

#: The method by gradients; of transformers the first that fits.
_METHOD = "grad-cam"


class Heater:
    """Paints heat maps with the PyTorch network of a model folder; not for two threads at once."""

    def __init__(self, model: Path) -> None:
        self._predictor = Predictor.load(model, engine="torch")
        self._standardiser = Standardiser(self._predictor.config.standard)

    def __call__(self, image: np.ndarray, label: str) -> np.ndarray:
        """Return RGB uint8 (H, W, 3) with the heat for a class of the model painted over it.

        An image that does not look like the training images is standardised for the network, as it
        was when it was named, and the heat is brought back to where it lies in the image.
        """
        made = self._standardiser(image)
        network = network_for(self._predictor, made)
        methods = default_methods(network.module)  # type: ignore[attr-defined]
        method = _METHOD if _METHOD in methods else methods[0]
        (heat,) = explain(network, [made.image], method, [label])
        if made.matrix is not None:
            height, width = image.shape[:2]
            large = fitted(heat, made.image.shape[:2])
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            heat = cv2.warpAffine(large, made.matrix, (width, height), flags=how)
        return overlay(image, np.clip(heat, 0, 1))
