"""One door to all methods: images in, heat maps in 0–1 out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from naturalize.base.console import progress_bar
from naturalize.base.errors import SettingsError, unknown

if TYPE_CHECKING:
    import torch

#: Images a pass through the network.
_BATCH = 8


class Explainable(Protocol):
    """What is needed of a model: its network, its classes, and images as the network's input."""

    module: Any
    members: Sequence[tuple[float, Any]]

    @property
    def classes(self) -> Sequence[str]:
        """The classes, in the order of the logits."""

    def tensor(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Return RGB uint8 (H, W, 3) images as normalised float (N, 3, S, S)."""


class Method(Protocol):
    """Gives raw heat maps (N, h, w) for normalised images (N, 3, S, S)."""

    def __call__(
        self,
        module: Any,
        images: torch.Tensor,
        targets: torch.Tensor,
        *,
        layer: str | None,
        channels: int | None,
        done: Callable[[], None],
    ) -> torch.Tensor:
        """Explain ``targets`` (N,) and call ``done`` after each image."""


def explain(
    predictor: Explainable,
    images: Sequence[np.ndarray],
    method: str,
    targets: Sequence[str] | None = None,
    *,
    layer: str | None = None,
    channels: int | None = None,
    what: str | None = None,
) -> np.ndarray:
    """Return where the network looked.

    Parameters
    ----------
    predictor
        The model.
    images
        RGB uint8 (H, W, 3), of any sizes.
    method
        A key of `EXPLAINERS`.
    targets
        Name of the class to explain for each image; the predicted one by default.
    layer
        Layer whose maps are used by the CAM methods; the last one that gives maps by default.
    channels
        Most masks that Score-CAM uses an image; all by default (see `naturalize.explain.maps`).
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
    if method not in EXPLAINERS:
        raise unknown("method", method, list(EXPLAINERS))
    if targets is not None and len(targets) != len(images):
        raise SettingsError(
            f"targets: expected one for each of {len(images)} images, got {len(targets)}"
        )
    if predictor.members:
        return _of_members(
            predictor, images, method, targets, layer=layer, channels=channels, what=what
        )
    found = []
    with progress_bar() as bar:
        task = bar.add_task(what or "", total=len(images), note="", visible=bool(what))
        for start in range(0, len(images), _BATCH):
            piece = slice(start, start + _BATCH)
            x = predictor.tensor(images[piece])
            names = targets[piece] if targets is not None else None
            raw = EXPLAINERS[method](
                predictor.module,
                x,
                _target_numbers(predictor, x, names),
                layer=layer,
                channels=channels,
                done=lambda: bar.advance(task),
            )
            found.append(_in_place(_finished(raw, x.shape[-2:]), images[piece], predictor))
    size = found[0].shape[1:] if found else (0, 0)
    return np.concatenate(found) if found else np.zeros((0, *size), np.float32)


def default_methods(module: Any) -> tuple[str, ...]:
    """Return the methods that fit a network: rollout for a timm transformer, else the CAMs.

    Those of an averaging ensemble are those that fit any of its members.
    """
    from naturalize.explain.maps import attention_layers
    from naturalize.models.averaged import Averaged

    if isinstance(module, Averaged):
        fitting = (name for member in module.averaged for name in default_methods(member))
        return tuple(dict.fromkeys(fitting))
    try:
        attention_layers(module)
    except SettingsError:
        return ("score-cam", "grad-cam")
    return ("attention-rollout",)


def _target_numbers(
    predictor: Explainable, x: torch.Tensor, names: Sequence[str] | None
) -> torch.Tensor:
    import torch

    from naturalize.explain.hooks import evaluating

    if names is None:
        with torch.no_grad(), evaluating(predictor.module):
            return predictor.module(x).argmax(dim=1)
    classes = list(predictor.classes)
    for name in names:
        if name not in classes:
            raise unknown("class", str(name), classes)
    return torch.tensor([classes.index(name) for name in names], device=x.device)


def _of_members(
    predictor: Any,
    images: Sequence[np.ndarray],
    method: str,
    targets: Sequence[str] | None,
    *,
    layer: str | None,
    channels: int | None,
    what: str | None,
) -> np.ndarray:
    """Return the mean of the maps of an averaging ensemble's members, by their shares."""
    if targets is None:
        best = predictor.probabilities(images).argmax(axis=1)
        targets = [predictor.classes[i] for i in best]
    fitting = [
        (share, member)
        for share, member in predictor.members
        if method in default_methods(member.module)
    ]
    if not fitting:
        raise SettingsError(f"{method} fits none of the ensemble's members")
    side = max(member.config.input_size for _, member in fitting)
    mean = np.zeros((len(images), side, side), np.float32)
    for number, (share, member) in enumerate(fitting, start=1):
        called = what and f"{what}, member {number} of {len(fitting)}"
        maps = explain(member, images, method, targets, layer=layer, channels=channels, what=called)
        for i, each in enumerate(maps):
            mean[i] += share * cv2.resize(each, (side, side), interpolation=cv2.INTER_LINEAR)
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


def _in_place(maps: np.ndarray, images: Sequence[np.ndarray], predictor: Any) -> np.ndarray:
    """Put maps (N, S, S) of what a network was shown where that lies in the images, S × S too."""
    view = getattr(getattr(predictor, "config", None), "view", None)
    if view is None or view.crop >= 1:
        return maps
    whole = np.zeros_like(maps)
    for image, seen, out in zip(images, maps, whole, strict=True):
        height, width = image.shape[:2]
        scale = np.array([len(out) / height, len(out) / width] * 2)
        top, left, bottom, right = np.rint(np.array(view.window(height, width)) * scale).astype(int)
        out[top:bottom, left:right] = cv2.resize(
            seen, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )
    return whole


def _score_cam(
    module: Any,
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    layer: str | None,
    channels: int | None,
    done: Callable[[], None],
) -> torch.Tensor:
    from naturalize.explain.hooks import map_layer
    from naturalize.explain.maps import score_cam

    part = map_layer(module, images[:1], layer)
    return score_cam(module, images, targets, part, channels=channels, done=done)


def _grad_cam(
    module: Any,
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    layer: str | None,
    channels: int | None,
    done: Callable[[], None],
) -> torch.Tensor:
    from naturalize.explain.hooks import map_layer
    from naturalize.explain.maps import grad_cam

    maps = grad_cam(module, images, targets, map_layer(module, images[:1], layer))
    for _ in images:
        done()
    return maps


def _attention_rollout(
    module: Any,
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    layer: str | None,
    channels: int | None,
    done: Callable[[], None],
) -> torch.Tensor:
    from naturalize.explain.maps import attention_rollout

    if layer is not None:
        raise SettingsError("attention-rollout uses all layers; leave the layer out")
    maps = attention_rollout(module, images)
    for _ in images:
        done()
    return maps


#: Name → method.
EXPLAINERS: dict[str, Method] = {
    "score-cam": _score_cam,
    "grad-cam": _grad_cam,
    "attention-rollout": _attention_rollout,
}
