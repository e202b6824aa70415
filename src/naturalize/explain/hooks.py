"""Looking into a network without changing it: recorded outputs, and the layer to look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

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


def map_layer(module: nn.Module, example: torch.Tensor, name: str | None = None) -> nn.Module:
    """Return the layer whose feature maps are to be looked at.

    Parameters
    ----------
    module
        The network.
    example
        One normalised image, (1, 3, S, S); it is run through the network once.
    name
        Name of the layer, as in ``module.named_modules()``. By default the last layer to give maps
        (1, K, h, w) with more than one place.

    Raises
    ------
    SettingsError
        If there is no layer of that name, it gives no maps, or the network has none to give
        (a transformer works on tokens).
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
    handles = []

    def noting(name: str) -> object:
        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                shapes.append((name, tuple(output.shape)))

        return note

    try:
        for name, part in module.named_modules():
            if name:
                handles.append(part.register_forward_hook(noting(name)))
        with torch.no_grad(), evaluating(module):
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _goes_on_in_tokens(module: nn.Module, rest: list[tuple[str, tuple[int, ...]]]) -> bool:
    """Return whether tokens follow the last maps, or the maps have channels last (as in Swin)."""
    channels_last = str(getattr(module, "output_fmt", "")).endswith("NHWC")
    return channels_last or any(len(shape) == 3 and shape[1] > 1 for _, shape in rest)
