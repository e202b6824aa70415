"""Predictions for image files: read ahead in threads; an unreadable file is a row with an error."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import ImageReadError, InputError
from naturalize.base.images import IMAGE_SUFFIXES, read_image
from naturalize.models.ahead import map_ahead
from naturalize.models.predictor import Predictor


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file; without probabilities where ``error`` says why.

    ``probabilities`` is float32 (C,) in the order of the model's classes.
    """

    path: Path
    label: str | None = None
    confidence: float | None = None
    probabilities: np.ndarray | None = None
    error: str | None = None


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """Return the image files that ``inputs`` name, in their order; folders are searched, sorted.

    A file named outright is taken whatever its suffix.

    Raises
    ------
    InputError
        If an input is missing, or there is no image at all.
    """
    found: list[Path] = []
    for path in inputs:
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            found += sorted(
                (p for p in inside if p.is_file() and not p.name.startswith(".")),
                key=lambda p: p.relative_to(path).parts,
            )
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    if not found:
        named = ", ".join(str(path) for path in inputs)
        raise InputError(f"{named}: no images there ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def predict_files(
    predictor: Predictor, paths: Sequence[Path], *, batch: int = 32, what: str | None = None
) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order; memory does not grow with their number."""
    rows = _predict(predictor, paths, batch)
    return track(rows, what, len(paths)) if what else rows


def _predict(predictor: Predictor, paths: Sequence[Path], batch: int) -> Iterator[Prediction]:
    pairs = zip(paths, map_ahead(_read, paths, window=2 * batch), strict=True)
    while piece := list(itertools.islice(pairs, batch)):
        images = [image for _, image in piece if isinstance(image, np.ndarray)]
        probabilities = iter(predictor.probabilities(images, batch=batch))
        for path, image in piece:
            if isinstance(image, str):
                yield Prediction(path, error=image)
                continue
            row = next(probabilities)
            top = int(row.argmax())
            yield Prediction(path, predictor.classes[top], float(row[top]), row)


def _read(path: Path) -> np.ndarray | str:
    try:
        return read_image(path)
    except ImageReadError as error:
        return error.reason


def to_csv(classes: Sequence[str], predictions: Iterable[Prediction]) -> str:
    """Return predictions as CSV: ``path, label, confidence, prob_<class>…, error``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "confidence", *(f"prob_{c}" for c in classes), "error"])
    for row in predictions:
        if row.probabilities is None:
            numbers = [""] * (1 + len(classes))
        else:
            numbers = [f"{value:.6f}" for value in (row.confidence, *row.probabilities)]
        writer.writerow([row.path.as_posix(), row.label or "", *numbers, row.error or ""])
    return text.getvalue()
