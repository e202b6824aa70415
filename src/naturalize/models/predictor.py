"""What every model that predicts has in common, and the one way to open a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from naturalize.base.errors import SettingsError, unknown
from naturalize.models.config import NetworkConfig
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

    Attributes
    ----------
    config
        What the network was built and trained for; null where that is not known.
    weights_hash
        Names the weights, whichever engine runs them; empty where that is not known.
    prepared
        What is done to images first, with all that decides the result; null: nothing.
    members
        Of an averaging ensemble: weight and predictor of each member.
    elsewhere
        What answers for standardised images, with the same classes in the same order; null: this
        predictor does.
    training_images
        Ids (`naturalize.base.images.content_hash`) of the images it was trained on, as far as the
        model lists them.
    """

    config: NetworkConfig | None = None
    prepared: str | None = None
    members: Sequence[tuple[float, Predictor]] = ()
    elsewhere: Predictor | None = None
    training_images: Collection[str] = frozenset()

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """The class names, in the order of the probabilities' columns."""

    @property
    def weights_hash(self) -> str:
        """What names the weights."""
        return ""

    @abstractmethod
    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = 32, what: str | None = None
    ) -> np.ndarray:
        """Return the probability of each class for each image.

        Parameters
        ----------
        images
            RGB uint8 (H, W, 3) of any sizes; read lazily, ``batch`` at a time.
        batch
            Images a pass.
        what
            Heading of a progress bar; none without it.

        Returns
        -------
        numpy.ndarray
            float32 (N, C); rows sum to one.
        """

    @staticmethod
    def load(model: str | Path, *, device: str = "cpu", engine: str = "auto") -> NetworkPredictor:
        """Open a model with the engine that suits it; all engines give the same probabilities.

        Parameters
        ----------
        model
            A model folder, or the name of a shipped model.
        device
            A torch device; the processor by default.
        engine
            ``"onnx"`` (on the processor), ``"torch"``, or ``"auto"``: onnx on the processor for a
            model that has a graph, else torch.

        Raises
        ------
        SettingsError
            For an unknown engine or device, or onnxruntime on another device than the processor.
        ArtifactError
            If there is no such model, it is damaged, or onnxruntime is asked for and it has no
            graph.
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


class OwnPredictor(Predictor):
    """A model of the user's own.

    Parameters
    ----------
    classes
        The class names.
    function
        Takes RGB uint8 (H, W, 3) images and ``batch`` to probabilities (N, C).
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
        """Return what the function gives, float32 (N, C)."""
        return np.asarray(self._function(images, batch=batch), np.float32)


def as_predictor(model: Any) -> Predictor:
    """Return ``model`` as a predictor: itself, or a wrapper around ``classes`` and a function.

    Raises
    ------
    SettingsError
        If it has no ``classes``, or no ``probabilities(images, batch=…)``.
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


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities (N, C) by ``temperature``."""
    if temperature == 1:
        return probabilities
    powered = probabilities ** (1 / temperature)
    return powered / powered.sum(axis=-1, keepdims=True)
