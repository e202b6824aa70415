"""Predictions for image files: read ahead in threads; an unreadable file is a row with an error."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import ImageReadError
from naturalize.base.images import decode_image, read_bytes
from naturalize.base.prefetch import map_ahead
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.prediction.predictor import of_standardised, row_of_standardised
from naturalize.prediction.standardise import Standardised, Standardiser

if TYPE_CHECKING:
    from naturalize.models.predictor import NetworkPredictor

#: Confidence below which a prediction is flagged.
UNSURE = 0.5

#: Flags of the file (``ImageFacts.flags``) that are flags of its prediction too.
_OF_FILE = ("deep", "rescaled", "pages")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file; without probabilities where ``error`` says why.

    ``probabilities`` is float32 (C,) in the order of the model's classes; ``flags`` are remarks on
    the image, such as ``"standardised"`` or ``"2 white cells"``.
    """

    path: Path
    label: str | None = None
    confidence: float | None = None
    probabilities: np.ndarray | None = None
    error: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The remarks as one text, or the error."""
        return f"error: {self.error}" if self.error else "; ".join(self.flags)


def predict_files(
    predictor: NetworkPredictor,
    paths: Sequence[Path],
    *,
    batch: int = 32,
    standardiser: Standardiser | None = None,
    unsure: float = UNSURE,
    what: str | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order; memory does not grow with their number.

    Parameters
    ----------
    predictor
        The model.
    paths
        Image files.
    batch
        Images a pass, or for onnxruntime, images under way.
    standardiser
        What brings images to the model's standard, having learnt how they were taken; by default,
        those that do not look like the training images.
    unsure
        Confidence below which a prediction is flagged.
    what
        Heading of a progress bar; none without it.
    """
    if standardiser is None:
        standardiser = Standardiser(predictor.config.standard).learn(paths)
    if isinstance(predictor, OnnxPredictor):
        rows = _in_threads(predictor, paths, batch, standardiser, unsure)
    else:
        rows = _in_batches(predictor, paths, batch, standardiser, unsure)
    return track(rows, what, len(paths)) if what else rows


def _in_threads(
    predictor: OnnxPredictor,
    paths: Sequence[Path],
    window: int,
    standardiser: Standardiser,
    unsure: float,
) -> Iterator[Prediction]:
    """Take each image from its file to its row in one thread, several at a time."""

    def answer(path: Path) -> Prediction:
        made = _read(path, standardiser)
        if isinstance(made, str):
            return Prediction(path, error=made)
        row = row_of_standardised(predictor, made)
        return _prediction(path, made, row, predictor.classes, unsure)

    return map_ahead(answer, paths, window=window)


def _in_batches(
    predictor: NetworkPredictor,
    paths: Sequence[Path],
    batch: int,
    standardiser: Standardiser,
    unsure: float,
) -> Iterator[Prediction]:
    """Read ahead in threads; the network takes batches, on threads or a device of its own."""
    read = map_ahead(lambda path: _read(path, standardiser), paths, window=2 * batch)
    pairs = zip(paths, read, strict=True)
    while piece := list(itertools.islice(pairs, batch)):
        readable = [made for _, made in piece if isinstance(made, Standardised)]
        probabilities = iter(of_standardised(predictor, readable, batch=batch))
        for path, made in piece:
            if isinstance(made, str):
                yield Prediction(path, error=made)
            else:
                yield _prediction(path, made, next(probabilities), predictor.classes, unsure)


def _read(path: Path, standardiser: Standardiser) -> Standardised | str:
    try:
        image, facts = decode_image(read_bytes(path), name=path)
    except ImageReadError as error:
        return error.reason
    made = standardiser(image)
    remarks = [flag for flag in facts.flags if flag in _OF_FILE]
    return replace(made, flags=(*made.flags, *remarks)) if remarks else made


def _prediction(
    path: Path, made: Standardised, row: np.ndarray, classes: Sequence[str], unsure: float
) -> Prediction:
    top = int(row.argmax())
    flags = made.flags + (("unsure",) if row[top] < unsure else ())
    return Prediction(path, classes[top], float(row[top]), row, flags=flags)


def to_csv(classes: Sequence[str], predictions: Iterable[Prediction]) -> str:
    """Return predictions as CSV: ``path, label, confidence, prob_<class>…, flag``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "confidence", *(f"prob_{c}" for c in classes), "flag"])
    for row in predictions:
        if row.probabilities is None:
            numbers = [""] * (1 + len(classes))
        else:
            numbers = [f"{value:.6f}" for value in (row.confidence, *row.probabilities)]
        writer.writerow([row.path.as_posix(), row.label or "", *numbers, row.flag])
    return text.getvalue()
