"""Raw heat maps of a network with feature maps, at their resolution: the CAM methods.

They weigh the K feature maps :math:`A_k` of one layer and keep what speaks for the class:
:math:`L^c = ReLU(\\sum_k w_k^c A_k)`; they differ in where the weights come from.

All take a ``module`` from normalised images, float (N, 3, S, S), to logits (N, C), and return
(N, h, w) of the same type, all ≥ 0, not normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional

from naturalize.base.errors import SettingsError, closest
from naturalize.explain.folding import folded

#: Masked images a pass of Score-CAM: they are made as they are shown, so that memory is flat. With
#: twice as many, layers no longer fit into a processor's cache: a network of 192 px takes a fifth
#: longer, and half as much memory again.
BATCH = 8

#: Passes from which a folded network (`naturalize.explain.folding`) makes up for the time that
#: folding takes: as long as some 60 of Lite0's passes at 192 px, and 150 of EfficientNetV2-B0's.
_FOLDED_FROM = 100


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
    maps, gradient = _maps_and_gradient(module, images, targets, layer)
    return functional.relu((gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1))


def grad_cam_plus_plus(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> torch.Tensor:
    r"""Return Grad-CAM++ maps (Chattopadhay et al., WACV 2018, eq. 19).

    :math:`w_k^c = \sum_{ij} \alpha_{k,ij} ReLU(g_{k,ij})` and :math:`\alpha_{k,ij} = g_{k,ij}^2 /
    (2 g_{k,ij}^2 + g_{k,ij}^3 \sum_{ab} A_{k,ab})`, with g the gradient of the logit: a place
    counts by itself, so that several small ones are not lost in the mean. Takes what `grad_cam`
    takes.
    """
    maps, gradient = _maps_and_gradient(module, images, targets, layer)
    below = 2 * gradient**2 + gradient**3 * maps.sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(below != 0, gradient**2 / torch.where(below != 0, below, 1), 0)
    weights = (alpha * functional.relu(gradient)).sum(dim=(2, 3), keepdim=True)
    return functional.relu((weights * maps).sum(dim=1))


def layer_cam(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> torch.Tensor:
    r"""Return LayerCAM maps (Jiang et al., IEEE Transactions on Image Processing 30, 2021).

    Each place has a weight of its own, :math:`ReLU(g_{k,ij})`, so that early layers with fine maps
    can be looked at. Takes what `grad_cam` takes.
    """
    maps, gradient = _maps_and_gradient(module, images, targets, layer)
    return functional.relu((functional.relu(gradient) * maps).sum(dim=1))


def _maps_and_gradient(
    module: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maps of ``layer`` and the gradient of the logits by them, both (N, K, h, w)."""
    with evaluating(module), recording(layer) as outputs, torch.enable_grad():
        logits = module(images.detach().clone().requires_grad_())
        score = logits.gather(1, targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, outputs[-1])
    return outputs[-1].detach(), gradient


def score_cam(
    module: nn.Module,
    images: torch.Tensor,
    targets: torch.Tensor,
    layer: nn.Module,
    *,
    batch: int = BATCH,
    channels: float | None = None,
    done: Callable[[], None] | None = None,
) -> torch.Tensor:
    r"""Return Score-CAM maps (Wang et al., CVPR Workshops 2020, algorithm 1).

    :math:`w^c = softmax_k(y^c(X \odot H_k))`, where :math:`H_k` is the map :math:`A_k` brought to
    0–1 and enlarged to the image: how much of the class is seen through each map. (The paper
    subtracts the score of a baseline image first; the softmax cancels it.)

    ``targets`` and ``layer`` are as for `grad_cam`. ``channels`` says which masks are used:

    - null: one a map, as published;
    - below 1: those of the strongest maps that carry this share of the energy (`strongest_maps`);
    - a whole number: at most so many, similar maps joined (`grouped_maps`). A joined map counts as
      often as it has members, since each would have a score like its own.

    Masks are made and shown ``batch`` at a time, which changes nothing but rounding; ``done`` is
    called after each image. ``SettingsError`` for other settings.
    """
    if batch < 1:
        raise SettingsError(f"batch: expected 1 or more, got {batch}")
    check_channels(channels)
    with evaluating(module), torch.no_grad():
        with recording(layer) as outputs:
            module(images)
        cams, chosen = [], [_chosen(found, channels) for found in outputs[-1]]
        many = sum(len(maps) for maps, _ in chosen) >= _FOLDED_FROM
        network = folded(module, images[:1]) if many else module
        for image, (maps, members), target in zip(images, chosen, targets, strict=True):
            scores = _masked_scores(network, image, _to_unit(maps), int(target), batch)
            weights = torch.softmax(scores + members.log(), dim=0)[:, None, None]
            cams.append(functional.relu((weights * maps).sum(dim=0)))
            if done is not None:
                done()
    return torch.stack(cams)


def check_channels(channels: float | None) -> None:
    """Raise ``SettingsError`` unless it is null, a share below 1, or a whole number from 1 on."""
    if channels is not None and not (0 < channels < 1 or (channels >= 1 and channels % 1 == 0)):
        raise SettingsError(
            "channels: expected a whole number of masks from 1 on, or a share of the energy "
            f"between 0 and 1, got {channels}"
        )


def _chosen(maps: torch.Tensor, channels: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maps whose masks are used, and of how many each is made."""
    if channels is not None and 1 <= channels < len(maps):
        return grouped_maps(maps, int(channels))
    kept = maps if channels is None or channels >= 1 else strongest_maps(maps, channels)
    return kept, kept.new_ones(len(kept))


def strongest_maps(maps: torch.Tensor, share: float) -> torch.Tensor:
    """Return the fewest of the feature maps (K, h, w) that carry ``share`` of the energy.

    The energy of a map is the sum of its squares. They stay in their order; at least one is kept.
    """
    energy = maps.flatten(1).double().square().sum(dim=1)
    strength, order = energy.sort(descending=True, stable=True)
    before = strength.cumsum(dim=0) - strength
    kept = order[(before < share * energy.sum()) | (before == 0)]
    return maps[kept.sort().values]


def _masked_scores(
    module: nn.Module, image: torch.Tensor, masks: torch.Tensor, target: int, batch: int
) -> torch.Tensor:
    """Return the logit of ``target`` for ``image`` (3, S, S) seen through each mask: (K,)."""
    size = image.shape[-2:]
    # masks that show nothing all give the same
    empty = ~masks.flatten(1).any(dim=1)
    scores = []
    for chunk in torch.cat([masks[~empty], masks[empty][:1]])[:, None].split(batch):
        enlarged = functional.interpolate(chunk, size, mode="bilinear", align_corners=False)
        masked = (image[None] * enlarged).contiguous(memory_format=torch.channels_last)
        scores.append(module(masked)[:, target])
    seen = torch.cat(scores)
    found = seen.new_empty(len(masks))
    found[empty], found[~empty] = seen[-1], seen[: int((~empty).sum())]
    return found


def _to_unit(maps: torch.Tensor) -> torch.Tensor:
    """Bring each of ``maps`` (…, h, w) to 0–1; a map that is the same everywhere becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    span = high - low
    return torch.where(span > 0, (maps - low) / torch.where(span > 0, span, 1), 0)


def grouped_maps(maps: torch.Tensor, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Join similar feature maps, (K, h, w), into the means of ``groups`` groups, (groups, h, w).

    Returns the means, and how many maps each is of, (groups,).

    Maps are alike when their shapes are, whatever their strength: Ward clustering of the maps
    brought to 0–1. The same idea, grouping masks so that fewer passes are needed, is in Group-CAM
    (Zhang, Rao & Yang 2021).
    """
    from sklearn.cluster import AgglomerativeClustering

    shapes = _to_unit(maps).flatten(1).double().cpu().numpy()
    found = AgglomerativeClustering(n_clusters=groups, linkage="ward").fit_predict(shapes)
    member = functional.one_hot(torch.as_tensor(found, device=maps.device), groups).to(maps.dtype)
    members = member.sum(dim=0)
    return torch.einsum("kg,khw->ghw", member / members, maps), members


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
