"""Raw heat maps of a vision transformer, at the resolution of its patches.

Both take a ``module`` from normalised images, float (N, 3, S, S), to logits (N, C), and return
(N, h, w) of the same type, all ≥ 0, not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError
from naturalize.explain.maps import evaluating, recording


def attention_rollout(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    r"""Return the attention rollout of a vision transformer (Abnar & Zuidema, ACL 2020, eq. 1).

    :math:`\tilde A = \hat A_L \cdots \hat A_1` with :math:`\hat A_l = \frac12 (A_l + I)`,
    where :math:`A_l` is the attention of layer l averaged over its heads, and half of the
    information takes the residual connection. Given is what flows from the image's patches into
    the class token, or into the mean of the patches where the network pools those. It says where
    the network looked, not for which class.

    ``SettingsError`` unless the module is a timm vision transformer: blocks with ``attn``
    (``qkv``, ``attn_drop``) and ``patch_embed``.
    """
    layers = attention_layers(module)
    with evaluating(module), torch.no_grad(), _weights_shown(layers) as recorded:
        module(images)
    means = [attention.mean(dim=1) for (attention,) in recorded]
    own = torch.eye(means[0].shape[-1], dtype=means[0].dtype, device=means[0].device)
    return _received(module, [(mean + own) / 2 for mean in means])


def attention_relevance(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    r"""Return the relevance of a vision transformer's patches for a class.

    Gradient times attention, rolled out (Chefer, Gur & Wolf, ICCV 2021, eq. 5 and 6):
    :math:`R = (I + \bar A_L) \cdots (I + \bar A_1)` with :math:`\bar A_l = E_h[ReLU(\partial y^c /
    \partial A_l \odot A_l)]`, the mean over the heads. Read like `attention_rollout`, and of the
    class ``targets``, int64 (N,). The same networks fit.
    """
    layers = attention_layers(module)
    with evaluating(module), torch.enable_grad(), _weights_shown(layers) as recorded:
        logits = module(images.detach().clone().requires_grad_())
        attentions = [attention for (attention,) in recorded]
        score = logits.gather(1, targets[:, None]).sum()
        gradients = torch.autograd.grad(score, attentions)
    own = torch.eye(attentions[0].shape[-1], dtype=images.dtype, device=images.device)
    return _received(
        module,
        [
            own + functional.relu(gradient * attention.detach()).mean(dim=1)
            for gradient, attention in zip(gradients, attentions, strict=True)
        ],
    )


def _received(module: nn.Module, steps: list[torch.Tensor]) -> torch.Tensor:
    """Return what flows from the patches to where the network reads, through all ``steps``."""
    flow = steps[0]
    for step in steps[1:]:
        flow = step @ flow
    prefix = int(getattr(module, "num_prefix_tokens", 1))
    by_token = getattr(module, "global_pool", "token") == "token" and prefix > 0
    received = flow[:, 0] if by_token else flow[:, prefix:].mean(dim=1)
    height, width = _grid(module, received.shape[1] - prefix)
    return received[:, prefix:].reshape(-1, height, width)


def attention_layers(module: nn.Module) -> list[Any]:
    """Return a timm vision transformer's self-attention layers; ``SettingsError`` for others."""
    blocks = getattr(module, "blocks", None)
    parts = [getattr(block, "attn", None) for block in blocks] if blocks is not None else []
    layers = [part for part in parts if hasattr(part, "attn_drop") and hasattr(part, "fused_attn")]
    if not layers or len(layers) != len(parts):
        raise SettingsError(
            "attention-rollout and attention-relevance need a vision transformer of timm (vit_…, "
            "deit_…), and this network is none; use score-cam or grad-cam"
        )
    return layers


@contextmanager
def _weights_shown(layers: list[Any]) -> Iterator[list[list[torch.Tensor]]]:
    """Make attention layers compute their weights openly and record them; then put them back.

    Fused attention never forms the weights, so it is switched off for the block; they are what
    ``attn_drop`` is given (and, in evaluation mode, gives).
    """
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(setattr, layer, "fused_attn", layer.fused_attn)
            layer.fused_attn = False
        yield [stack.enter_context(recording(layer.attn_drop)) for layer in layers]


def _grid(module: nn.Module, patches: int) -> tuple[int, int]:
    """Height and width, in patches, of the image that the tokens came from."""
    grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
    if grid is not None and grid[0] * grid[1] == patches:
        return int(grid[0]), int(grid[1])
    side = math.isqrt(patches)
    if side * side != patches:
        raise SettingsError(f"{patches} patches do not make a square image")
    return side, side
