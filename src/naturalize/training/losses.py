"""The loss of each image, the weights of classes, and images mixed in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from naturalize.dataset.schemes import stages
from naturalize.training.settings import TrainSettings


class Loss(nn.Module):
    """A loss an image.

    The loss of a batch is the sum of the losses over the sum of the weights, which pieces of a
    batch, and processes that share one, can add up for themselves.

    Parameters
    ----------
    kind
        ``cross_entropy``; ``focal`` (Lin et al., ICCV 2017, eq. 5): each class's part is multiplied
        by (1 − p)^γ; ``balanced_softmax`` (Ren et al., NeurIPS 2020, eq. 3): the cross entropy of
        logits to which the logarithm of each class's count was added.
    smoothing, gamma
        Share of the target that is spread over all classes; γ of the focal loss.
    spread
        Target of each class, float (C, C), each row summing to 1; the class itself by default.
    weights, counts
        Of each class (C,): the weight, all 1 by default, and the training images.
    """

    weights: torch.Tensor | None
    shift: torch.Tensor | None
    spread: torch.Tensor | None

    def __init__(
        self,
        kind: str = "cross_entropy",
        *,
        smoothing: float = 0.0,
        gamma: float = 2.0,
        spread: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.smoothing, self.gamma = kind, smoothing, gamma
        held = None if weights is None else torch.from_numpy(np.asarray(weights, np.float32))
        shift = None
        if kind == "balanced_softmax":
            assert counts is not None
            shift = torch.from_numpy(np.log(counts / counts.sum()).astype(np.float32))
        # not persistent: they follow from the data, and are no part of a model
        self.register_buffer("weights", held, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        target = None if spread is None else torch.from_numpy(np.asarray(spread, np.float32))
        self.register_buffer("spread", target, persistent=False)

    @classmethod
    def of(cls, settings: TrainSettings, targets: np.ndarray, classes: Sequence[str]) -> Loss:
        """Return the loss of a run whose training rows have these targets, int (N,)."""
        n_classes, balanced = len(classes), settings.class_weights == "balanced"
        spread = neighbours(classes, settings.neighbours) if settings.neighbours else None
        return cls(
            settings.loss,
            smoothing=settings.label_smoothing,
            gamma=settings.focal_gamma,
            spread=spread,
            weights=class_weights(targets, n_classes) if balanced else None,
            counts=np.bincount(targets, minlength=n_classes),
        )

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of each image, (N,), times its weight, of logits (N, C)."""
        if self.shift is not None:
            logits = logits + self.shift
        if self.kind != "focal" and self.spread is None:
            return functional.cross_entropy(
                logits,
                target,
                weight=self.weights,
                label_smoothing=self.smoothing,
                reduction="none",
            )
        log_p = functional.log_softmax(logits, dim=1)
        wanted = (
            functional.one_hot(target, logits.shape[1]).to(log_p)
            if self.spread is None
            else self.spread[target]
        )
        wanted = wanted * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        if self.weights is not None:
            wanted = wanted * self.weights
        if self.kind != "focal":
            return -(wanted * log_p).sum(1)
        # a floor: at p = 1 the slope of (1 − p)^γ would be infinite for γ < 1
        rest = (-log_p.expm1()).clamp_min(1e-6)
        return -(wanted * rest**self.gamma * log_p).sum(1)


def class_weights(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the weight of each class: N / (C · n_c), so that all classes weigh the same in sum.

    Each class must be there; the mean over the rows is 1 (King & Zeng 2001; scikit-learn's
    "balanced").
    """
    counts = np.bincount(targets, minlength=n_classes)
    return (len(targets) / (n_classes * counts)).astype(np.float32)


def neighbours(classes: Sequence[str], share: float) -> np.ndarray:
    """Return targets, float64 (C, C), of which the stages next to a class have ``share`` in sum.

    Experts confuse neighbouring stages of maturation, so a label of one is not certain.
    A class that is no stage, or whose neighbours are not among the classes, keeps all.

    Examples
    --------
    >>> neighbours(["BNE", "EO", "SNE"], 0.1).tolist()
    [[0.9, 0.0, 0.1], [0.0, 1.0, 0.0], [0.1, 0.0, 0.9]]
    """
    places = np.array([np.nan if place is None else place for place in stages(classes)], float)
    near = np.abs(places[:, None] - places) == 1
    count = near.sum(axis=1, keepdims=True)
    given = np.where(count > 0, share, 0.0)
    return np.eye(len(classes)) * (1 - given) + near * given / np.maximum(count, 1)


def mix(
    images: torch.Tensor, generator: np.random.Generator, *, mixup: float, cutmix: float
) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mix each image of a batch (N, C, H, W) with another one of it; CutMix changes it in place.

    MixUp adds the two, weighed by λ from Beta(α, α) (Zhang et al., ICLR 2018); CutMix sets a
    rectangle of area 1 − λ of the one into the other (Yun et al., ICCV 2019). ``mixup`` and
    ``cutmix`` are the α of each, 0 turns it off; with both, a coin decides for each batch. Returns
    the images, the number of each one's partner (N,), and the share of an image in itself.
    """
    cut = cutmix > 0 and (mixup <= 0 or generator.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(generator.beta(alpha, alpha))
    partner = torch.from_numpy(generator.permutation(len(images))).to(images.device)
    if not cut:
        return images.lerp(images[partner], 1 - share), partner, share
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    y, x = generator.uniform(0, height), generator.uniform(0, width)
    top, bottom = (round(min(max(y + d * side * height / 2, 0), height)) for d in (-1, 1))
    left, right = (round(min(max(x + d * side * width / 2, 0), width)) for d in (-1, 1))
    images[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    return images, partner, 1 - (bottom - top) * (right - left) / (height * width)
