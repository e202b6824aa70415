"""Predictions for image files: read ahead in threads; an unreadable file is a row with an error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import ImageReadError
from naturalize.base.images import decode_image, read_bytes
from naturalize.base.walk import find_images
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.prediction.predictor import answers_to, network_for
from naturalize.prediction.profile import Profile
from naturalize.prediction.standardise import Standardised, Standardiser

#: Confidence below which a prediction is flagged.
UNSURE = 0.5

#: Flags of what is in doubt, all of which begin with the first: what an image's other flags say;
#: that it is like nothing the network has seen; a set of several classes; a low confidence.
DOUBTFUL, STRANGE = "unsure", "unsure: like nothing seen"
BETWEEN, LOW = "unsure: two classes", "unsure: low confidence"

#: Flags of the file (``ImageFacts.flags``) that are flags of its predictions too.
OF_FILE = ("deep", "rescaled", "pages")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image, or of one white cell of a field.

    ``label`` is the class, or `NO_CELL` or `NO_WHITE_CELL`; ``probabilities`` float32 (C,) in the
    order of the model's classes, null where there is no cell or an ``error``; ``flags`` are remarks
    such as ``"standardised"``; ``number`` and ``box`` (``x0, y0, x1, y1``) say of a field which of
    its white cells this is; ``candidates`` are the classes that it may be, the most probable first
    (`naturalize.models.doubt`), null where the model has no such sets; ``prior`` says the class mix
    that the probabilities allow for, where one was asked for (`naturalize.prediction.prior`).
    """

    path: Path
    label: str | None = None
    confidence: float | None = None
    probabilities: np.ndarray | None = None
    error: str | None = None
    flags: tuple[str, ...] = ()
    number: int | None = None
    box: tuple[int, int, int, int] | None = None
    candidates: tuple[str, ...] | None = None
    prior: str | None = None

    @property
    def unsure(self) -> bool:
        """Whether the answer is in doubt, for whatever reason."""
        return any(flag.startswith(DOUBTFUL) for flag in self.flags)

    @property
    def flag(self) -> str:
        """The remarks as one text, or the error."""
        return f"error: {self.error}" if self.error else "; ".join(self.flags)


def predict(
    images: str | Path | Sequence[str | Path],
    model: str | Path = "pbc11",
    *,
    profile: str | Path | None = None,
    whole: bool = False,
) -> list[Prediction]:
    """Return a prediction for each image, and for each white cell of a field.

    ``images`` are files and folders of them, ``model`` is a model folder or the name of a shipped
    model, ``profile`` the file of a laboratory profile; by default one is measured on these images.
    With ``whole`` a field gets one answer too.
    """
    paths = find_images([images] if isinstance(images, str | Path) else images)
    predictor = Predictor.load(model)
    standard, standardiser = predictor.config.standard, None
    if profile is not None and standard is not None:
        standardiser = Standardiser(standard, profile=Profile.load(Path(profile), standard))
    return list(predict_files(predictor, paths, standardiser=standardiser, whole=whole))


def predict_files(
    predictor: NetworkPredictor,
    paths: Sequence[Path],
    *,
    batch: int = 32,
    standardiser: Standardiser | None = None,
    unsure: float = UNSURE,
    whole: bool = False,
    views: int | None = None,
    what: str | None = None,
) -> Iterator[Prediction]:
    """Yield a prediction for each image, and for each white cell of a field, in order.

    Memory does not grow with the number of files.

    Parameters
    ----------
    predictor, paths
        The model, and image files.
    batch
        Images a pass, or for onnxruntime, images under way.
    standardiser
        What brings images to the model's standard, having learnt how they were taken; by default,
        those that do not look like the training images.
    unsure
        Confidence below which a prediction is flagged.
    whole
        Give a field one answer too, about the white cell in its middle.
    views
        Views of each cell whose probabilities are averaged: 1, or 4 (quarter turns), or 8 (those
        mirrored too); by default 1 of images taken as they are, 4 of standardised ones.
    what
        Heading of a progress bar; none without it.
    """
    if standardiser is None:
        standardiser = Standardiser(predictor.config.standard).learn(paths)
    lock = nullcontext() if isinstance(predictor, OnnxPredictor) else Lock()
    work = _Work(predictor, standardiser, unsure, whole, views, lock)
    found = work.in_threads(paths, batch)
    if what:
        found = track(found, what, len(paths))
    return itertools.chain.from_iterable(found)


def predict_cells(
    predictor: NetworkPredictor,
    standardiser: Standardiser,
    path: Path,
    made: Sequence[Standardised],
    *,
    unsure: float = UNSURE,
    views: int | None = None,
) -> list[Prediction]:
    """Return a prediction for each standardised cell of a file; see :func:`predict_files`."""
    return _Work(predictor, standardiser, unsure, False, views, nullcontext())._of(path, made)


@dataclass(frozen=True)
class _Work:
    """What turns files into predictions."""

    predictor: NetworkPredictor
    standardiser: Standardiser
    unsure: float
    whole: bool
    views: int | None
    lock: AbstractContextManager[Any]  # of the network; onnxruntime needs none

    def in_threads(self, paths: Sequence[Path], batch: int) -> Iterator[list[Prediction]]:
        """Yield the predictions of each file; images are read and standardised in threads.

        With onnxruntime the network runs there too. With PyTorch it takes batches, on threads or a
        device of its own; the cells of a field are a batch, so that no field waits in memory.
        """
        if isinstance(self.predictor, OnnxPredictor):
            yield from prefetched(self._answered, paths, window=batch)
            return
        ready = zip(paths, prefetched(self._begun, paths, window=2 * batch), strict=True)
        while piece := list(itertools.islice(ready, batch)):
            waiting = [one for _, one in piece if isinstance(one, Standardised)]
            with self.lock:
                rows = self._answers(waiting, batch)
            for path, one in piece:
                if isinstance(one, Standardised):
                    yield [self._prediction(path, one, next(rows))]
                else:
                    yield one

    def _answered(self, path: Path) -> list[Prediction]:
        found = self._begun(path)
        return self._of(path, [found]) if isinstance(found, Standardised) else found

    def _begun(self, path: Path) -> list[Prediction] | Standardised:
        """Return an image that is ready for the network, or all predictions of a field."""
        try:
            image, facts = decode_image(read_bytes(path), name=path)
        except ImageReadError as error:
            return [Prediction(path, error=error.reason)]
        made = [self.standardiser(image)] if self.whole else self.standardiser.each(image)
        if remarks := tuple(flag for flag in facts.flags if flag in OF_FILE):
            made = [replace(one, flags=one.flags + remarks) for one in made]
        if len(made) > 1 or made[0].verdict is not None:
            return self._of(path, made)
        return made[0]

    def _of(self, path: Path, made: Sequence[Standardised]) -> list[Prediction]:
        asked = [one for one in made if one.verdict is None]
        with self.lock:
            rows = self._answers(asked, 32)
        return [
            self._prediction(path, one, next(rows) if one.verdict is None else None) for one in made
        ]

    def _answers(
        self, made: Sequence[Standardised], batch: int
    ) -> Iterator[tuple[np.ndarray, float]]:
        rows, strange = answers_to(self.predictor, made, batch=batch, views=self.views)
        return zip(rows, strange.tolist(), strict=True)

    def _prediction(
        self, path: Path, made: Standardised, answer: tuple[np.ndarray, float] | None
    ) -> Prediction:
        row, strange = answer or (None, 0.0)
        if row is not None:
            label = self.predictor.classes[int(row.argmax())]
            made = self.standardiser.judged(made, label)
        found = Prediction(path, made.verdict, flags=made.flags, number=made.number, box=made.box)
        if made.verdict is not None or row is None:
            return found
        confidence = float(row.max())
        network = network_for(self.predictor, made)
        candidates: tuple[str, ...] | None = None
        if (doubt := network.config.doubt) is not None:
            order, inside = np.argsort(-row, kind="stable"), doubt.sets(network.classes, row[None])
            candidates = tuple(network.classes[i] for i in order if inside[0, i])
        said = (
            (DOUBTFUL, made.doubt),
            (STRANGE, strange > 0),
            (BETWEEN, len(candidates or ()) > 1),
            (LOW, confidence < self.unsure),
        )
        why = [flag for flag, so in said if so][:1]
        return replace(
            found,
            label=label,
            confidence=confidence,
            probabilities=row,
            flags=(*made.flags, *why),
            candidates=candidates,
        )
