"""Where a model looked: images in, heat maps in 0–1 out, whichever the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from naturalize.base.console import progress_bar
from naturalize.base.errors import SettingsError, unknown
from naturalize.models.config import NetworkConfig

if TYPE_CHECKING:
    import torch

#: The methods, by name, for networks with feature maps and for vision transformers: see
#: `naturalize.explain.maps` and `naturalize.explain.attention`.
CAMS = ("score-cam", "grad-cam", "grad-cam++", "layer-cam")
ATTENTION = ("attention-rollout", "attention-relevance")
METHODS = CAMS + ATTENTION

#: Those that are used where none is named: of the CAMs one by scores and one by gradients.
_DEFAULT = {CAMS: CAMS[:2], ATTENTION: ATTENTION}

#: Images a pass through the network.
_BATCH = 8


class Explainable(Protocol):
    """What is needed of a model; `TorchPredictor` and `TorchClassifier` have it.

    ``module`` is the network: normalised images (N, 3, S, S) to logits (N, C).
    """

    module: Any

    @property
    def config(self) -> NetworkConfig | None:
        """With what it sees of an image; null if that is all of it."""

    @property
    def members(self) -> Sequence[tuple[float, Any]]:
        """Of an averaging ensemble: weight and model of each member."""

    @property
    def classes(self) -> Sequence[str]:
        """The classes, in the order of the logits."""

    def tensor(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Return RGB uint8 (H, W, 3) images as normalised float (N, 3, S, S)."""

    def probabilities(self, images: Sequence[np.ndarray], *, batch: int = 32) -> np.ndarray:
        """Return float32 (N, C); rows sum to one."""


def explainable(
    model: Any,
    classes: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
) -> Explainable:
    """Return a model as the methods need it.

    It may be a predictor of a model folder, whichever engine runs it, a torch module with
    ``classes`` and ``transform`` (see `naturalize.prediction.predictor.TorchClassifier`), or
    whatever is `Explainable`. ``SettingsError`` if it has no network, or these two are not given.
    """
    from torch import nn

    from naturalize.models.onnx_predictor import OnnxPredictor
    from naturalize.models.torch_predictor import TorchPredictor
    from naturalize.prediction.predictor import TorchClassifier

    if isinstance(model, nn.Module):
        if classes is None or transform is None:
            raise SettingsError(
                "a torch module is explained with its classes and the transform of its images: "
                "explain(module, images, method, classes=[…], transform=…)"
            )
        return TorchClassifier(model, classes, transform)
    if isinstance(model, OnnxPredictor) and model.path is not None:
        return TorchPredictor.open(model.path)
    if not isinstance(model, TorchPredictor | TorchClassifier) and not hasattr(model, "tensor"):
        raise SettingsError(
            f"a {type(model).__name__} has no network to look into; give a torch module with its "
            "classes and transform, or open a model folder with engine='torch'"
        )
    return model


def explain(
    model: Any,
    images: Sequence[np.ndarray],
    method: str,
    targets: Sequence[str] | None = None,
    *,
    classes: Sequence[str] | None = None,
    transform: Callable[[Any], Any] | None = None,
    layer: str | None = None,
    channels: float | None = None,
    what: str | None = None,
) -> np.ndarray:
    """Return where the network looked.

    Parameters
    ----------
    model, classes, transform
        See :func:`explainable`.
    images
        RGB uint8 (H, W, 3), of any sizes.
    method
        One of `METHODS`.
    targets
        Name of the class to explain for each image; the predicted one by default.
    layer
        Layer whose maps are used by the CAM methods; the last one that gives maps by default.
    channels
        Masks that Score-CAM uses an image, or the share of the energy that their maps carry; all
        by default (see `naturalize.explain.maps.score_cam`).
    what
        Heading of a progress bar; none without it.

    Returns
    -------
    numpy.ndarray
        float32 (N, S, S) in 0–1, S being the network's input size; a map covers the whole image,
        and is 0 where the network does not get to see it. Each map is stretched to 0–1; one that is
        the same everywhere is 0. Of an averaging ensemble, it is the mean of the members' maps, by
        their weights, for those members that the method fits.

    Raises
    ------
    SettingsError
        For an unknown method, layer or class, or a method that does not fit the network.
    """
    if method not in METHODS:
        raise unknown("method", method, list(METHODS))
    if targets is not None and len(targets) != len(images):
        raise SettingsError(
            f"targets: expected one for each of {len(images)} images, got {len(targets)}"
        )
    opened = explainable(model, classes, transform)
    if opened.members:
        more = {"layer": layer, "channels": channels}
        return _of_members(opened, images, method, targets, what, more)
    found = []
    with progress_bar() as bar:
        task = bar.add_task(what or "", total=len(images), note="", visible=bool(what))
        for start in range(0, len(images), _BATCH):
            piece = slice(start, start + _BATCH)
            x = opened.tensor(images[piece])
            wanted = _target_numbers(opened, x, targets[piece] if targets is not None else None)
            raw = _raw_maps(
                method, opened.module, x, wanted, layer, channels, lambda: bar.advance(task)
            )
            found.append(_in_place(_finished(raw, x.shape[-2:]), images[piece], opened))
    return np.concatenate(found) if found else np.zeros((0, 0, 0), np.float32)


def _raw_maps(
    method: str,
    module: Any,
    images: torch.Tensor,
    targets: torch.Tensor,
    layer: str | None,
    channels: float | None,
    done: Callable[[], None],
) -> torch.Tensor:
    """Return raw maps (N, h, w) for ``targets`` (N,), and call ``done`` after each image."""
    from naturalize.explain import attention, maps

    if method in ATTENTION:
        if layer is not None:
            raise SettingsError(f"{method} uses all layers; leave the layer out")
        if method == "attention-rollout":
            found = attention.attention_rollout(module, images)
        else:
            found = attention.attention_relevance(module, images, targets)
    else:
        part = maps.map_layer(module, images[:1], layer)
        if method == "score-cam":
            return maps.score_cam(module, images, targets, part, channels=channels, done=done)
        by_gradient = {
            "grad-cam": maps.grad_cam,
            "grad-cam++": maps.grad_cam_plus_plus,
            "layer-cam": maps.layer_cam,
        }
        found = by_gradient[method](module, images, targets, part)
    for _ in images:
        done()
    return found


def default_methods(module: Any) -> tuple[str, ...]:
    """Return the methods for a network where none is named; of an ensemble, those of any member."""
    return tuple(name for family in fitting(module) for name in _DEFAULT[family])


def fitting(module: Any) -> tuple[tuple[str, ...], ...]:
    """Return which of `CAMS` and `ATTENTION` fit a network: the latter a timm transformer.

    Those of an averaging ensemble are those that fit any of its members.
    """
    from naturalize.explain.attention import attention_layers
    from naturalize.models.load import Averaged

    if isinstance(module, Averaged):
        families = (family for member in module.averaged for family in fitting(member))
        return tuple(dict.fromkeys(families))
    try:
        attention_layers(module)
    except SettingsError:
        return (CAMS,)
    return (ATTENTION,)


def _target_numbers(
    predictor: Explainable, x: torch.Tensor, names: Sequence[str] | None
) -> torch.Tensor:
    import torch

    from naturalize.explain.maps import evaluating

    if names is None:
        with torch.no_grad(), evaluating(predictor.module):
            return predictor.module(x).argmax(dim=1)
    classes = list(predictor.classes)
    for name in names:
        if name not in classes:
            raise unknown("class", str(name), classes)
    return torch.tensor([classes.index(name) for name in names], device=x.device)


def _of_members(
    predictor: Explainable,
    images: Sequence[np.ndarray],
    method: str,
    targets: Sequence[str] | None,
    what: str | None,
    more: dict[str, Any],
) -> np.ndarray:
    """Return the mean of the maps of an averaging ensemble's members, by their weights."""
    if targets is None:
        best = predictor.probabilities(images).argmax(axis=1)
        targets = [predictor.classes[i] for i in best]
    used = [
        (weight, member)
        for weight, member in predictor.members
        if any(method in family for family in fitting(member.module))
    ]
    if not used:
        raise SettingsError(f"{method} fits none of the ensemble's members")
    side = max(member.config.input_size for _, member in used)
    mean = np.zeros((len(images), side, side), np.float32)
    for number, (weight, member) in enumerate(used, start=1):
        called = what and f"{what}, member {number} of {len(used)}"
        maps = explain(member, images, method, targets, what=called, **more)
        for i, each in enumerate(maps):
            mean[i] += weight * cv2.resize(each, (side, side), interpolation=cv2.INTER_LINEAR)
    return _stretched(mean)


def _finished(raw: torch.Tensor, size: Sequence[int]) -> np.ndarray:
    """Enlarge raw maps (N, h, w) to ``size`` and stretch each to 0–1: float32."""
    from torch.nn import functional

    large = functional.interpolate(
        raw[:, None].float(), tuple(size), mode="bicubic", align_corners=False
    )
    return _stretched(large[:, 0].clamp_min(0).cpu().numpy())


def _stretched(maps: np.ndarray) -> np.ndarray:
    """Stretch each of maps (N, H, W), all ≥ 0, to 0–1: float32."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    # below rounding, a map that is the same everywhere is no map of anything
    flat = span <= 1e-6 * np.abs(maps).max(axis=(1, 2), keepdims=True)
    return np.where(flat, 0, (maps - low) / np.where(flat, 1, span)).astype(np.float32)


def _in_place(maps: np.ndarray, images: Sequence[np.ndarray], predictor: Explainable) -> np.ndarray:
    """Put maps (N, S, S) of what a network was shown where that lies in the images, S × S too."""
    if predictor.config is None or predictor.config.crop >= 1:
        return maps
    view = predictor.config.view
    whole = np.zeros_like(maps)
    for image, seen, out in zip(images, maps, whole, strict=True):
        height, width = image.shape[:2]
        scale = np.array([len(out) / height, len(out) / width] * 2)
        top, left, bottom, right = np.rint(np.array(view.window(height, width)) * scale).astype(int)
        out[top:bottom, left:right] = cv2.resize(
            seen, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )
    return whole
