"""Predictors that stand in for a model: one that standardises, and one of a module of one's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.engine import prefetched
from naturalize.base.errors import SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import NetworkPredictor, Predictor, tempered
from naturalize.prediction.profile import Profile
from naturalize.prediction.standardise import Standardised, Standardiser


class StandardisingPredictor(Predictor):
    """A predictor whose images go through a standardiser first."""

    def __init__(self, predictor: NetworkPredictor, standardiser: Standardiser) -> None:
        self.predictor, self.standardiser = predictor, standardiser
        self.config = predictor.config
        self.elsewhere = predictor.elsewhere
        self.training_images = predictor.training_images
        self.prepared = f"standardise {standardiser.mode}: {standardiser.profile}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities' columns."""
        return self.predictor.classes

    @property
    def weights_hash(self) -> str:
        """What names the weights of the model."""
        return self.predictor.weights_hash

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return float32 (N, C) for RGB uint8 (H, W, 3) images; see :func:`of_standardised`."""
        predictor = self.predictor
        images = track(images, what) if what else images
        if isinstance(predictor, OnnxPredictor):
            rows = list(prefetched(self._row, images, window=2 * batch))
            return np.stack(rows) if rows else np.empty((0, len(self.classes)), np.float32)
        made = prefetched(self.standardiser, images, window=2 * batch)
        pieces = iter(lambda: list(itertools.islice(made, batch)), [])
        found = [of_standardised(predictor, piece, batch=batch) for piece in pieces]
        return np.concatenate(found) if found else np.empty((0, len(self.classes)), np.float32)

    def _row(self, image: np.ndarray) -> np.ndarray:
        return of_standardised(self.predictor, [self.standardiser(image)])[0]


class TorchClassifier(Predictor):
    """A torch module of one's own as a model: to evaluate, to explain, to predict with.

    Parameters
    ----------
    module
        Takes (N, 3, H, W) to logits (N, C); it is put into evaluation mode.
    classes
        The C class names, in the order of the logits.
    transform
        Takes a `PIL.Image.Image` (RGB) to the network's input, float (3, H, W): what the network
        was validated with, such as torchvision's or timm's.
    device
        A torch device; the processor by default.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> def transform(image):
    ...     return torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255
    >>> model = TorchClassifier(net, ["red", "green", "blue"], transform)
    >>> model.probabilities([np.full((8, 8, 3), (255, 0, 0), np.uint8)]).round(2)
    array([[0.58, 0.21, 0.21]], dtype=float32)
    """

    members = ()

    def __init__(
        self,
        module: Any,
        classes: Sequence[str],
        transform: Callable[[Any], Any],
        *,
        device: str = "cpu",
    ) -> None:
        self.module = module.to(device).eval()
        self.transform, self.device, self._classes = transform, device, tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities' columns."""
        return self._classes

    @property
    def weights_hash(self) -> str:
        """What names the weights."""
        from naturalize.models.identity import weights_hash

        return weights_hash(self.module)

    def tensor(self, images: Iterable[np.ndarray]) -> Any:
        """Return RGB uint8 (H, W, 3) images as the network's input, (N, 3, H, W)."""
        import torch
        from PIL import Image

        made = [self.transform(Image.fromarray(image)) for image in images]
        return torch.stack(made).to(self.device)

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return float32 (N, C) for RGB uint8 (H, W, 3) images; rows sum to one."""
        import torch

        source = iter(track(images, what) if what else images)
        rows = []
        while piece := list(itertools.islice(source, batch)):
            with torch.inference_mode():
                logits = self.module(self.tensor(piece)).float()
            if logits.shape[1:] != (len(self._classes),):
                raise SettingsError(
                    f"the network gives {tuple(logits.shape[1:])} numbers an image, but "
                    f"{len(self._classes)} classes were named"
                )
            rows.append(torch.softmax(logits, dim=1).cpu().numpy())
        return np.concatenate(rows) if rows else np.empty((0, len(self._classes)), np.float32)


#: How many views of a cell may be averaged: as it is, four quarter turns, those mirrored too; and
#: how many are by default, of images as they are and of standardised ones. A network is less sure
#: of what it was not trained on, and its answers for turned views differ more.
VIEWS, _AS_IT_IS, _STANDARDISED = (1, 4, 8), 1, 4


def of_standardised(
    predictor: NetworkPredictor,
    made: Sequence[Standardised],
    *,
    batch: int = 32,
    views: int | None = None,
) -> np.ndarray:
    """Return the probabilities for standardised images, float32 (N, C); see :func:`answers_to`."""
    return answers_to(predictor, made, batch=batch, views=views)[0]


def network_for(predictor: NetworkPredictor, made: Standardised) -> NetworkPredictor:
    """Return what answers for an image: the model, or its part for images from elsewhere."""
    return predictor.elsewhere or predictor if made.standardised else predictor


def answers_to(
    predictor: NetworkPredictor,
    made: Sequence[Standardised],
    *,
    batch: int = 32,
    views: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and strangeness of standardised images; see :func:`in_kind`.

    float32 (N, C), and float64 (N,): above 0 an image is like nothing that the network has seen
    (`naturalize.models.doubt.Doubt.strangeness`); NaN where the model has no limit.

    The model for images from elsewhere answers for those that were standardised, if there is one.
    ``views``: of how many views of each image the mean is taken, one of `VIEWS`; by default 1 of
    images that were taken as they are, 4 of others.
    """
    if views is not None and views not in VIEWS:
        raise SettingsError(f"views: expected 1, 4 or 8, got {views}")
    found = np.full((len(made), len(predictor.classes)), 1 / len(predictor.classes), np.float32)
    strange = np.full(len(made), np.nan)
    asked = np.array([one.verdict is None for one in made], bool)  # others have their answer
    away = np.array([one.standardised for one in made], bool)
    for these, network, usual in (
        (asked & ~away, predictor, _AS_IT_IS),
        (asked & away, predictor.elsewhere or predictor, _STANDARDISED),
    ):
        rows, n = np.flatnonzero(these).tolist(), views or usual
        seen = [replace(made[row], image=v) for row in rows for v in _views(made[row].image, n)]
        answers, far = _answers(network, seen, batch)
        found[rows] = answers.reshape(len(rows), n, found.shape[1]).mean(axis=1)
        strange[rows] = far.reshape(len(rows), n).mean(axis=1)
    return found, strange


def _answers(
    predictor: NetworkPredictor, made: list[Standardised], batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a network's probabilities, float32 (N, C), and strangeness, float64 (N,)."""
    images, slides = [one.image for one in made], [one.slide for one in made]
    rows, strange = predictor.judged(images, slides, batch=batch)
    kept = [in_kind(row, one, predictor.config) for row, one in zip(rows, made, strict=True)]
    return np.array(kept, np.float32).reshape(len(made), len(predictor.classes)), strange


def _views(image: np.ndarray, n: int) -> list[np.ndarray]:
    """Return the first ``n`` of an image's quarter turns and their mirror images."""
    if n == 1:
        return [image]
    mirrored = [image, image[:, ::-1]] if n > 4 else [image]
    return [np.ascontiguousarray(np.rot90(each, k)) for each in mirrored for k in range(4)]


def in_kind(row: np.ndarray, made: Standardised, config: NetworkConfig) -> np.ndarray:
    """Return a standardised image's probabilities, float32 (C,), by what it was seen to show.

    They are divided by the temperature for images from elsewhere, if the model has one. Where no
    cell was found, all classes get the same.

    Where the segmenter found a white cell and the image is from elsewhere, classes of other kinds
    (platelets) get nothing, and the rest is divided anew: a network tells sizes by what it is used
    to, the segmenter by what is around.
    """
    if made.verdict is not None:
        return np.full_like(row, 1 / len(row))
    if config.temperature_elsewhere is not None and made.standardised:
        row = tempered(row, config.temperature_elsewhere / config.temperature)
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


def standardising(
    predictor: NetworkPredictor,
    paths: Sequence[Path],
    mode: str = "auto",
    profile: Path | None = None,
) -> Predictor:
    """Return a predictor that standardises images like those at ``paths``; see `Standardiser`.

    With ``profile``, the file of a laboratory profile, nothing is measured. A model that does not
    say what its training images looked like is returned as it is.
    """
    standard = predictor.config.standard
    if profile is not None and standard is not None:
        known = Profile.load(profile, standard)
        return StandardisingPredictor(predictor, Standardiser(standard, mode, known))
    standardiser = Standardiser(standard, mode)
    if standardiser.standard is None:
        return predictor
    return StandardisingPredictor(predictor, standardiser.learn(paths))
