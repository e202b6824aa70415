"""A predictor that standardises what it is given; it stands in wherever a predictor does."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.prefetch import map_ahead
from naturalize.models.config import NetworkConfig
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.prediction.standardise import Standardised, Standardiser

if TYPE_CHECKING:
    from naturalize.models.predictor import NetworkPredictor


class StandardisingPredictor:
    """A predictor whose images go through a standardiser first.

    Parameters
    ----------
    predictor
        The model.
    standardiser
        With its standard, having learnt how the images were taken.
    """

    def __init__(self, predictor: NetworkPredictor, standardiser: Standardiser) -> None:
        self.predictor, self.standardiser = predictor, standardiser
        self.config = predictor.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities' columns."""
        return self.predictor.classes

    @property
    def weights_hash(self) -> str:
        """What names the weights of the model."""
        return self.predictor.weights_hash

    @property
    def prepared(self) -> str:
        """What is done to images, with all that decides the result."""
        made = self.standardiser
        return f"standardise {made.mode}: {made.look}, sharpening {made.sharpening}"

    def probabilities(self, images: Iterable[np.ndarray], *, batch: int = 32) -> np.ndarray:
        """Return float32 (N, C) for RGB uint8 (H, W, 3) images; see :func:`of_standardised`."""
        predictor = self.predictor
        if isinstance(predictor, OnnxPredictor):
            rows = list(map_ahead(self._row, images, window=2 * batch))
            return np.stack(rows) if rows else np.empty((0, len(self.classes)), np.float32)
        made = map_ahead(self.standardiser, images, window=2 * batch)
        pieces = iter(lambda: list(itertools.islice(made, batch)), [])
        found = [of_standardised(predictor, piece, batch=batch) for piece in pieces]
        return np.concatenate(found) if found else np.empty((0, len(self.classes)), np.float32)

    def _row(self, image: np.ndarray) -> np.ndarray:
        assert isinstance(self.predictor, OnnxPredictor)
        return row_of_standardised(self.predictor, self.standardiser(image))


def of_standardised(
    predictor: NetworkPredictor, made: Sequence[Standardised], *, batch: int = 32
) -> np.ndarray:
    """Return the probabilities for standardised images, float32 (N, C); see :func:`in_kind`."""
    found = predictor.probabilities([one.image for one in made], batch=batch)
    for row, one in zip(found, made, strict=True):
        row[:] = in_kind(row, one, predictor.config)
    return found


def row_of_standardised(predictor: OnnxPredictor, made: Standardised) -> np.ndarray:
    """Return the probabilities for one standardised image, float32 (C,); see :func:`in_kind`."""
    return in_kind(predictor.row(made.image, made.slide), made, predictor.config)


def in_kind(row: np.ndarray, made: Standardised, config: NetworkConfig) -> np.ndarray:
    """Return a standardised image's probabilities, float32 (C,), by what it was seen to show.

    Where the segmenter found a white cell and the image is from elsewhere, classes of other kinds
    (platelets) get nothing, and the rest is divided anew: a network tells sizes by what it is used
    to, the segmenter by what is around.
    """
    if config.standard is None or made.kind is None:
        return row
    return of_kind(row, config.classes, config.standard.kinds, made.kind)


def of_kind(
    shares: np.ndarray, classes: Sequence[str], kinds: Mapping[str, str], kind: str
) -> np.ndarray:
    """Return probabilities (C,) given that a cell is of a kind; classes of unknown kind stay."""
    fits = np.array([kinds.get(name, kind) == kind for name in classes])
    kept = np.where(fits, shares, 0)
    return (kept / kept.sum()).astype(np.float32) if kept.sum() > 0 else shares


def standardising(predictor: NetworkPredictor, paths: Sequence[Path], mode: str = "auto") -> Any:
    """Return a predictor that standardises images like those at ``paths``; see `Standardiser`.

    A model that does not say what its training images looked like is returned as it is.
    """
    standardiser = Standardiser(predictor.config.standard, mode)
    if standardiser.standard is None:
        return predictor
    return StandardisingPredictor(predictor, standardiser.learn(paths))
