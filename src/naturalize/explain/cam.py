"""Class activation maps: Grad-CAM and Score-CAM, at the resolution of the feature maps.

Both weigh the K feature maps :math:`A_k` of one layer and keep what speaks for the class:
:math:`L^c = ReLU(\\sum_k w_k^c A_k)`; they differ in where the weights come from.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError
from naturalize.explain.hooks import evaluating, recording


def grad_cam(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> torch.Tensor:
    r"""Return Grad-CAM maps (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    :math:`w_k^c = \frac{1}{hw} \sum_{ij} \partial y^c / \partial A_{k,ij}`, with :math:`y^c` the
    logit of the class.

    Parameters
    ----------
    module
        Takes (N, 3, S, S) to logits (N, C).
    images
        Normalised, float (N, 3, S, S).
    targets
        int64 (N,): the class to explain for each image.
    layer
        A layer of ``module`` that gives maps (N, K, h, w).

    Returns
    -------
    torch.Tensor
        (N, h, w), same type as ``images``, all ≥ 0, not normalised.
    """
    with evaluating(module), recording(layer) as outputs, torch.enable_grad():
        logits = module(images.detach().clone().requires_grad_())
        score = logits.gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, outputs[-1])
    maps = outputs[-1].detach()
    return functional.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))


def score_cam(
    module: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    layer: nn.Module,
    *,
    batch: int = 32,
    channels: int | None = None,
    done: Callable[[], None] | None = None,
) -> torch.Tensor:
    r"""Return Score-CAM maps (Wang et al., CVPR Workshops 2020, algorithm 1).

    :math:`w^c = softmax_k(y^c(X \odot H_k))`, where :math:`H_k` is the map :math:`A_k` brought to
    0–1 and enlarged to the image: how much of the class is seen through each map. (The paper
    subtracts the score of a baseline image first; the softmax cancels it.) The result does not
    depend on ``batch`` but for rounding.

    Parameters
    ----------
    module
        Takes (N, 3, S, S) to logits (N, C).
    images
        Normalised, float (N, 3, S, S).
    targets
        int64 (N,): the class to explain for each image.
    layer
        A layer of ``module`` that gives maps (N, K, h, w).
    batch
        Masked images a pass.
    channels
        Use at most so many masks an image: similar maps are joined (see `grouped_maps`), which
        costs ``channels`` instead of K passes. None: one mask a map, as published.
    done
        Called after each image.

    Returns
    -------
    torch.Tensor
        (N, h, w), same type as ``images``, all ≥ 0, not normalised.

    Raises
    ------
    SettingsError
        If ``batch`` or ``channels`` is less than 1.
    """
    for name, value in (("batch", batch), ("channels", channels)):
        if value is not None and value < 1:
            raise SettingsError(f"{name}: expected 1 or more, got {value}")
    with evaluating(module), torch.no_grad():
        with recording(layer) as outputs:
            module(images)
        cams = []
        for image, maps, target in zip(images, outputs[-1], targets, strict=True):
            if channels is not None and channels < len(maps):
                maps = grouped_maps(maps, channels)  # noqa: PLW2901
            scores = _masked_scores(module, image, _to_unit(maps), int(target), batch)
            weights = torch.softmax(scores, dim=0)[:, None, None]
            cams.append(functional.relu((weights * maps).sum(dim=0)))
            if done is not None:
                done()
    return torch.stack(cams)


def _masked_scores(
    module: nn.Module, image: torch.Tensor, masks: torch.Tensor, target: int, batch: int
) -> torch.Tensor:
    """Return the logit of ``target`` for ``image`` (3, S, S) seen through each mask: (K,)."""
    size = image.shape[-2:]
    scores = []
    for chunk in masks[:, None].split(batch):
        enlarged = functional.interpolate(chunk, size, mode="bilinear", align_corners=False)
        masked = (image[None] * enlarged).contiguous(memory_format=torch.channels_last)
        scores.append(module(masked)[:, target])
    return torch.cat(scores)


def _to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Bring each of ``maps`` (…, h, w) to 0–1; a map that is the same everywhere becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (maps - low) / torch.where(span > 0, span, 1), 0)


def grouped_maps(maps: torch.Tensor, groups: int) -> torch.Tensor:
    """Join similar feature maps, (K, h, w), into the means of ``groups`` groups, (groups, h, w).

    Maps are alike when their shapes are, whatever their strength: Ward clustering of the maps
    brought to 0–1. The same idea, grouping masks so that fewer passes are needed, is in Group-CAM
    (Zhang, Rao & Yang 2021).
    """
    from sklearn.cluster import AgglomerativeClustering

    shapes = _to_unit(maps).flatten(1).double().cpu().numpy()
    found = AgglomerativeClustering(n_clusters=groups, linkage="ward").fit_predict(shapes)
    member = functional.one_hot(torch.as_tensor(found, device=maps.device), groups).to(maps.dtype)
    return torch.einsum("kg,khw->ghw", member / member.sum(dim=0), maps)
