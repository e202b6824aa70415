"""One door to all methods: images in, heat maps in 0–1 out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

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
        Most masks that Score-CAM uses an image; all by default (see `naturalize.explain.cam`).
    what
        Heading of a progress bar; none without it.

    Returns
    -------
    numpy.ndarray
        float32 (N, S, S) in 0–1, S being the network's input size; a map covers the whole image.
        Each map is stretched to 0–1; one that is the same everywhere is 0.

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
            found.append(_finished(raw, x.shape[-2:]))
    size = found[0].shape[1:] if found else (0, 0)
    return np.concatenate(found) if found else np.zeros((0, *size), np.float32)


def default_methods(module: Any) -> tuple[str, ...]:
    """Return the methods that fit a network: rollout for a timm transformer, else the CAMs."""
    from naturalize.explain.rollout import attention_layers

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


def _finished(raw: torch.Tensor, size: Sequence[int]) -> np.ndarray:
    """Enlarge raw maps (N, h, w) to ``size`` and stretch each to 0–1: float32."""
    from torch.nn import functional

    large = functional.interpolate(
        raw[:, None].float(), tuple(size), mode="bicubic", align_corners=False
    )
    maps = large[:, 0].clamp_min(0).cpu().numpy()
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    # below rounding, a map that is the same everywhere is no map of anything
    flat = span <= 1e-6 * np.abs(maps).max(axis=(1, 2), keepdims=True)
    return np.where(flat, 0, (maps - low) / np.where(flat, 1, span)).astype(np.float32)


def _score_cam(
    module: Any,
    images: torch.Tensor,
    targets: torch.Tensor,
    *,
    layer: str | None,
    channels: int | None,
    done: Callable[[], None],
) -> torch.Tensor:
    from naturalize.explain.cam import score_cam
    from naturalize.explain.hooks import map_layer

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
    from naturalize.explain.cam import grad_cam
    from naturalize.explain.hooks import map_layer

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
    from naturalize.explain.rollout import attention_rollout

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
