"""Attention rollout: what of the image flows into a transformer's decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from naturalize.base.errors import SettingsError
from naturalize.explain.hooks import evaluating, recording


def attention_rollout(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    r"""Return the attention rollout of a vision transformer (Abnar & Zuidema, ACL 2020, eq. 1).

    :math:`\tilde A = \hat A_L \cdots \hat A_1` with :math:`\hat A_l = \frac12 (A_l + I)`,
    where :math:`A_l` is the attention of layer l averaged over its heads, and half of the
    information takes the residual connection. Given is what flows from the image's patches into
    the class token, or into the mean of the patches where the network pools those. It tells where
    the network looked, not for which class.

    Parameters
    ----------
    module
        A timm vision transformer: blocks with ``attn`` (``qkv``, ``attn_drop``), ``patch_embed``.
    images
        Normalised, float (N, 3, S, S).

    Returns
    -------
    torch.Tensor
        (N, h, w) for h × w patches, all ≥ 0.

    Raises
    ------
    SettingsError
        If the network is no such transformer.
    """
    layers = attention_layers(module)
    with evaluating(module), torch.no_grad(), _weights_shown(layers) as recorded:
        module(images)
    flow: torch.Tensor | None = None
    for (attention,) in recorded:
        mean = attention.mean(dim=1)
        own = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        step = (mean + own) / 2
        flow = step if flow is None else step @ flow
    assert flow is not None
    prefix = int(getattr(module, "num_prefix_tokens", 1))
    by_token = getattr(module, "global_pool", "token") == "token" and prefix > 0
    received = flow[:, 0] if by_token else flow[:, prefix:].mean(dim=1)
    height, width = _grid(module, received.shape[1] - prefix)
    return received[:, prefix:].reshape(-1, height, width)


def attention_layers(module: nn.Module) -> list[Any]:
    """Return the self-attention layers of a timm vision transformer, first to last.

    Raises
    ------
    SettingsError
        If there are none.
    """
    blocks = getattr(module, "blocks", None)
    parts = [getattr(block, "attn", None) for block in blocks] if blocks is not None else []
    layers = [part for part in parts if hasattr(part, "attn_drop") and hasattr(part, "fused_attn")]
    if not layers or len(layers) != len(parts):
        raise SettingsError(
            "attention-rollout needs a vision transformer of timm (vit_…, deit_…), and this "
            "network is none; use score-cam or grad-cam"
        )
    return layers


@contextmanager
def _weights_shown(layers: list[Any]) -> Iterator[list[list[torch.Tensor]]]:
    """Make attention layers compute their weights openly and record them; then put them back.

    Fused attention never forms the weights, so it is switched off for the block; they are what
    ``attn_drop`` is given (and, in evaluation mode, gives).
    """
    fused = [layer.fused_attn for layer in layers]
    with ExitStack() as stack:
        try:
            for layer in layers:
                layer.fused_attn = False
            yield [stack.enter_context(recording(layer.attn_drop)) for layer in layers]
        finally:
            for layer, was in zip(layers, fused, strict=True):
                layer.fused_attn = was


def _grid(module: nn.Module, patches: int) -> tuple[int, int]:
    """Height and width, in patches, of the image that the tokens came from."""
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if grid is not None and grid[0] * grid[1] == patches:
        return int(grid[0]), int(grid[1])
    side = math.isqrt(patches)
    if side * side != patches:
        raise SettingsError(f"attention-rollout: {patches} patches do not make a square image")
    return side, side
