"""What of an image is explained: it or the standardised one, by the network that answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from naturalize.explain.methods import Explainable, explainable
from naturalize.explain.picks import Pick
from naturalize.models.identity import weights_hash
from naturalize.prediction.predictor import StandardisingPredictor, of_standardised


@dataclass(frozen=True)
class Shown:
    """What a network saw, RGB uint8 (H, W, 3), and what it answered."""

    image: np.ndarray
    network: Explainable
    predicted: str
    confidence: float | None
    standardised: bool = False

    def share(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probability of the answer for other images, (N,)."""
        number = list(self.network.classes).index(self.predicted)
        return self.network.probabilities(images)[:, number]


class Viewer:
    """Shows images to the network that answers for each; the last one is kept for more methods.

    ``model`` is as for `naturalize.explain.methods.explainable`, or a predictor that standardises.
    """

    def __init__(self, model: Any) -> None:
        self.standardising = model if isinstance(model, StandardisingPredictor) else None
        opened = self.standardising.predictor if self.standardising else model
        self.home = self.away = explainable(opened)
        if self.standardising is not None and opened.elsewhere is not None:
            self.away = explainable(opened.elsewhere)
        self.last: tuple[Pick, Shown] | None = None

    @property
    def decides(self) -> dict[str, Any]:
        """What decides the answers."""
        model = weights_hash(self.home.module)
        decided: dict[str, Any] = {"model": model, "classes": list(self.home.classes)}
        if self.standardising is not None:
            decided |= {
                "prepared": self.standardising.prepared,
                "elsewhere": weights_hash(self.away.module),
            }
        return decided

    def __call__(self, item: Pick, image: np.ndarray) -> Shown:
        """Return what is explained of an image; a prediction that ``item`` has stays."""
        if self.last is None or self.last[0] != item:
            self.last = (item, self._shown(item, image))
        return self.last[1]

    def _shown(self, item: Pick, image: np.ndarray) -> Shown:
        network, standardised = self.home, False
        if self.standardising is not None:
            made = self.standardising.standardiser(image)
            image, standardised = made.image, made.standardised
            network = self.away if standardised else self.home
        if item.predicted is not None:
            return Shown(image, network, item.predicted, item.confidence, standardised)
        if self.standardising is not None:
            shares = of_standardised(self.standardising.predictor, [made])[0]
        else:
            shares = network.probabilities([image])[0]
        best = int(shares.argmax())
        return Shown(image, network, network.classes[best], float(shares[best]), standardised)
