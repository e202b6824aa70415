"""What every model that predicts has in common, and the one way to open a model."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from naturalize.base.errors import InputError, SettingsError, unknown
from naturalize.models.config import Colour, NetworkConfig
from naturalize.models.ensemble import has_graph
from naturalize.models.folder import elsewhere_of, training_images
from naturalize.models.shipped import find

#: What runs a network → its predictor, imported when a model is opened with it.
ENGINES = {
    "onnx": "naturalize.models.onnx_predictor:OnnxPredictor",
    "torch": "naturalize.models.torch_predictor:TorchPredictor",
}


class Predictor(ABC):
    """A model ready to predict: class names, and probabilities for images.

    All else has a default, so that a model of one's own needs these two only; see
    :func:`as_predictor` for one that is no subclass.
    """

    #: What the network was built and trained for; null where that is not known.
    config: NetworkConfig | None = None
    #: What is done to images first, with all that decides the result; null: nothing.
    prepared: str | None = None
    #: Of an averaging ensemble: weight and predictor of each member.
    members: Sequence[tuple[float, Predictor]] = ()
    #: What answers for standardised images, with the same classes in the same order; null: this
    #: predictor does.
    elsewhere: Predictor | None = None
    #: Ids (`naturalize.base.images.content_hash`) of the images it was trained on, if it lists
    #: them.
    training_images: Collection[str] = frozenset()

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """The class names, in the order of the probabilities' columns."""

    @property
    def weights_hash(self) -> str:
        """What names the weights, whichever engine runs them; empty where that is not known."""
        return ""

    @abstractmethod
    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the probability of each class for each image, float32 (N, C); rows sum to one.

        ``images`` are RGB uint8 (H, W, 3) of any sizes, read lazily, ``batch`` a pass; ``what``
        heads a progress bar.
        """

    @staticmethod
    def load(model: str | Path, *, device: str = "cpu", engine: str = "auto") -> NetworkPredictor:
        """Open a model folder, or a shipped model by its name, with the engine that suits it.

        All engines give the same probabilities: ``"onnx"`` (on the processor only), ``"torch"`` (on
        any torch ``device``), or ``"auto"``: onnx on the processor for a model that has a graph,
        else torch.

        ``SettingsError`` for an engine or a device that there is not, or that do not fit;
        ``ArtifactError`` if there is no such model, it is damaged, or lacks the graph asked for.
        """
        path = find(model)
        if engine == "auto":
            engine = "onnx" if device == "cpu" and has_graph(path) else "torch"
        if engine not in ENGINES:
            raise unknown("engine", engine, ["auto", *ENGINES])
        kind, inner = resolve_name(ENGINES[engine]), elsewhere_of(path)
        opened: NetworkPredictor = kind.open(path, device=device)
        if inner is not None:
            opened.elsewhere = kind.open(inner, device=device)
        opened.training_images = training_images(path)
        return opened


class NetworkPredictor(Predictor):
    """A predictor whose network has a configuration."""

    config: NetworkConfig
    elsewhere: NetworkPredictor | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities' columns."""
        return self.config.classes

    def judged(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None], *, batch: int = 32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and strangeness of N images with slides of these colours, if known.

        float32 (N, C) as `probabilities` gives them, and float64 (N,) as
        `naturalize.models.doubt.Doubt.strangeness` does, NaN where the model has no limit; of an
        ensemble, the mean of the members'.
        """
        return self.probabilities(images, batch=batch), np.full(len(images), np.nan)

    def logits(
        self, images: Sequence[np.ndarray], slides: Sequence[Colour | None] = ()
    ) -> np.ndarray:
        """Return what the last layer gives for images, float32 (N, C)."""
        raise NotImplementedError

    def strangeness(self, logits: np.ndarray) -> np.ndarray:
        """Return how strange images with logits (N, C) are, float64 (N,); NaN without a limit."""
        if self.config.doubt is None:
            return np.full(len(logits), np.nan)
        return self.config.doubt.strangeness(logits)


class OwnPredictor(Predictor):
    """A model of the user's own.

    ``function`` takes RGB uint8 (H, W, 3) images and ``batch`` to probabilities (N, C).
    """

    def __init__(self, classes: Sequence[str], function: Callable[..., Any]) -> None:
        self._classes, self._function = tuple(classes), function

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities' columns."""
        return self._classes

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return what the function gives, float32 (N, C); ``InputError`` for another shape."""
        number = itertools.count()
        given = images
        if not isinstance(images, Sequence):  # counted as they are taken
            given = (image for image, _ in zip(images, number, strict=False))
        found = np.asarray(self._function(given, batch=batch), np.float32)
        n = len(images) if isinstance(images, Sequence) else sum(1 for _ in given) + next(number)
        if found.shape != (n, len(self._classes)):
            raise InputError(
                f"the model gives probabilities of shape {found.shape}; expected "
                f"({n}, {len(self._classes)}): a row for each image, a column for each class"
            )
        return found


def as_predictor(model: Any) -> Predictor:
    """Return ``model`` as a predictor: itself, or a wrapper around ``classes`` and a function.

    ``SettingsError`` if it has no ``classes``, or no ``probabilities(images, batch=…)``.
    """
    if isinstance(model, Predictor):
        return model
    try:
        return OwnPredictor(model.classes, model.probabilities)
    except AttributeError as error:
        raise SettingsError(
            f"a {type(model).__name__} is no model that can predict ({error}); give it `classes` "
            "and `probabilities(images, batch=32)`, or wrap it in OwnPredictor(classes, function)"
        ) from error


def mean_of_members(
    ensemble: NetworkPredictor,
    images: Sequence[np.ndarray],
    slides: Sequence[Colour | None],
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `NetworkPredictor.judged` does, for the weighted mean of an ensemble."""
    rows, strange = np.zeros((len(images), len(ensemble.classes))), np.zeros(len(images))
    for share, member in ensemble.members:
        assert isinstance(member, NetworkPredictor)
        order = [member.classes.index(name) for name in ensemble.classes]
        found, far = member.judged(images, slides, batch=batch)
        rows += share * found[:, order]
        strange += share * far
    return tempered(rows, ensemble.config.temperature).astype(np.float32), strange


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities (N, C) by ``temperature``."""
    if temperature == 1:
        return probabilities
    powered = probabilities ** (1 / temperature)
    return powered / powered.sum(axis=-1, keepdims=True)
