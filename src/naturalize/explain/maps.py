"""Raw heat maps of one network, at the resolution of its feature maps or patches.

Grad-CAM and Score-CAM weigh the K feature maps :math:`A_k` of one layer and keep what speaks for
the class: :math:`L^c = ReLU(\\sum_k w_k^c A_k)`; they differ in where the weights come from.
Attention rollout follows the attention of a vision transformer, whatever the class.

All take a ``module`` from normalised images, float (N, 3, S, S), to logits (N, C), and return
(N, h, w) of the same type, all ≥ 0, not normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError, closest


@contextmanager
def recording(layer: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Record the outputs of ``layer`` while the block runs; no hook is left, come what may."""
    outputs: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        outputs.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode for the block, then each part back into its own."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def grad_cam(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> torch.Tensor:
    r"""Return Grad-CAM maps (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    :math:`w_k^c = \frac{1}{hw} \sum_{ij} \partial y^c / \partial A_{k,ij}`, with :math:`y^c` the
    logit of the class.

    ``targets``, int64 (N,), is the class to explain for each image, ``layer`` a layer of ``module``
    that gives maps (N, K, h, w).
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
    subtracts the score of a baseline image first; the softmax cancels it.)

    ``targets`` and ``layer`` are as for `grad_cam`. With ``channels``, at most so many masks are
    used an image: similar maps are joined (see `grouped_maps`), which costs ``channels`` instead of
    K passes; else one mask a map, as published. ``batch``, masked images a pass, changes nothing
    but rounding; ``done`` is called after each image.
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
    flow = (means[0] + own) / 2
    for mean in means[1:]:
        flow = (mean + own) / 2 @ flow
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
        raise SettingsError(f"attention-rollout: {patches} patches do not make a square image")
    return side, side


def map_layer(module: nn.Module, example: torch.Tensor, name: str | None = None) -> nn.Module:
    """Return the layer whose feature maps are to be looked at.

    ``example`` is one normalised image, (1, 3, S, S), and is run through the network once. ``name``
    is as in ``module.named_modules()``; by default it is the last layer to give maps (1, K, h, w)
    with more than one place. ``SettingsError`` if there is no such layer, or it gives no maps (a
    transformer works on tokens).
    """
    layers = dict(module.named_modules())
    if name is not None and name not in layers:
        known = [layer for layer in layers if layer]
        top = ", ".join(child for child, _ in module.named_children())
        raise SettingsError(
            f"unknown layer {name!r}{closest(name, known)}; the network's parts are: {top}"
        )
    shapes = _output_shapes(module, example)
    if name is not None:
        found = [shape for layer, shape in shapes if layer == name]
        if not found or not _is_map(found[-1]):
            gives = f"an output of shape {found[-1]}" if found else "no tensor"
            raise SettingsError(
                f"layer {name!r} gives {gives}, not feature maps (N, K, h, w); "
                "choose an earlier one"
            )
        return layers[name]
    last = max((i for i, (_, shape) in enumerate(shapes) if _is_map(shape)), default=None)
    if last is None or _goes_on_in_tokens(module, shapes[last + 1 :]):
        raise SettingsError(
            "score-cam and grad-cam need feature maps, and this network has none at its end (it "
            "works on tokens, as transformers do); use attention-rollout, or name a layer that "
            "gives maps"
        )
    return layers[shapes[last][0]]


def _output_shapes(module: nn.Module, example: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """Return (layer, shape of its output) in the order in which the layers end."""
    shapes: list[tuple[str, tuple[int, ...]]] = []
    names = {part: name for name, part in module.named_modules() if name}

    def note(part: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            shapes.append((names[part], tuple(output.shape)))

    with ExitStack() as stack, torch.no_grad(), evaluating(module):
        for part in names:
            stack.callback(part.register_forward_hook(note).remove)
        module(example)
    return shapes


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _goes_on_in_tokens(module: nn.Module, rest: list[tuple[str, tuple[int, ...]]]) -> bool:
    """Return whether tokens follow the last maps, or the maps have channels last (as in Swin)."""
    channels_last = str(getattr(module, "output_fmt", "")).endswith("NHWC")
    return channels_last or any(len(shape) == 3 and shape[1] > 1 for _, shape in rest)
