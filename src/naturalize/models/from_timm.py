"""Building timm's networks, whole or as a giver of feature maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from naturalize.base.console import warn
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models import weights as sources
from naturalize.models.config import Network, NetworkConfig, Wanted
from naturalize.models.names import CBAM
from naturalize.models.torchvision_compat import ensure

#: What is decided elsewhere, or would make the network's answer something else than logits.
_RESERVED = (
    "aux_logits",
    "cache_dir",
    "checkpoint_path",
    "drop_rate",
    "exportable",
    "features_only",
    "img_size",
    "in_chans",
    "num_classes",
    "out_indices",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "scriptable",
)

#: Not every network has a configuration of its own; these are timm's defaults.
_SIZE, _HALF = 224, (0.5, 0.5, 0.5)

#: Spread of a new classifier's weights: the loss then starts within 4 % of log(classes) in all
#: families of the zoo (benchmarks.new_classifiers). With timm's, up to 0.175, it starts at 4 to 6.
_HEAD_SPREAD = 0.01


@dataclass(frozen=True)
class Maps:
    """A network that gives its last feature maps, in a list of one: (N, channels, h, w)."""

    module: Any
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def build_timm(wanted: Wanted) -> Network:
    """Build a timm network with a classifier for the wanted classes.

    The options go to timm's constructor (``drop_path_rate``, ``layers``, ``embed_dim``, …).
    """
    size = wanted.input_size or own_size(wanted.name)
    found = find_weights(wanted)
    module = _create(wanted, found, size, num_classes=len(wanted.classes))
    if found is None or _outputs(wanted.name, found.state) != len(wanted.classes):
        start_undecided(module)
    mean, std = normalisation(wanted.name, found)
    source = "scratch" if found is None else found.source
    config = NetworkConfig(
        wanted.name, wanted.classes, size, mean, std, source, options=wanted.options
    )
    if size != own_size(wanted.name):
        try_out(module, wanted.name, size)
    return Network(module, config)


def start_undecided(module: Any) -> None:
    """Let a new classifier begin with nearly equal probabilities, whatever its family."""
    from torch import nn

    heads = module.get_classifier()
    for head in heads if isinstance(heads, list | tuple) else [heads]:
        layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        for layer in layers[-1:]:
            nn.init.normal_(layer.weight, std=_HEAD_SPREAD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def build_maps(wanted: Wanted) -> Maps:
    """Build the part of a timm network that gives its last feature maps; classes do not matter."""
    size = wanted.input_size or own_size(wanted.name)
    found = find_weights(wanted)
    with _silence():  # it lists every tensor of the head as unexpected
        module = _create(wanted, found, size, features_only=True, out_indices=(-1,))
    source = found.source if found is not None else "scratch"
    channels = int(module.feature_info.channels()[-1])
    return Maps(module, channels, *normalisation(wanted.name, found), source)


def own_size(name: str) -> int:
    """Return the side of a timm network's own input in pixels."""
    config = _config(name)
    return _SIZE if config is None else int(config.input_size[-1])


def normalisation(
    name: str, found: sources.Weights | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std, 0–1: those that the weights came with, else the architecture's own."""
    if found is not None and found.mean and found.std:
        return tuple(found.mean), tuple(found.std)
    config = _config(name)
    return (_HALF, _HALF) if config is None else (tuple(config.mean), tuple(config.std))


def try_out(module: Any, name: str, size: int) -> None:
    """Run one empty image through: some sizes are found out only there, and not in training."""
    import torch

    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            module(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise _impossible(name, size, error) from error
    finally:
        module.train(training)


def blank(name: str, **options: Any) -> Any:
    """Return a timm network whose tensors have names and shapes but no numbers: made at once."""
    ensure()
    import timm
    import torch

    try:
        with torch.device("meta"):
            return timm.create_model(name, **options)
    except (NotImplementedError, RuntimeError):  # constructors of older releases read numbers
        return timm.create_model(name, **options)


def find_weights(wanted: Wanted) -> sources.Weights | None:
    """Look for the wanted weights; warn where there are none and none had to be."""
    found = sources.find(wanted.name, wanted.weights)
    if found is None and wanted.weights == "auto":
        warn(
            f"{wanted.name}: no ImageNet weights on this machine, so it starts from scratch; "
            f"ways to get them: {sources.ways(wanted.name)}"
        )
    return found


@contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("timm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _config(name: str) -> Any:
    ensure()
    import timm

    return timm.get_pretrained_cfg(name)  # null for a network without one


def _create(wanted: Wanted, found: sources.Weights | None, size: int, **asked: Any) -> Any:
    ensure()
    import timm

    name, config = wanted.name, _config(wanted.name)
    reserved = sorted(set(wanted.options) & set(_RESERVED))
    if reserved:
        raise SettingsError(f"network_options: {reserved[0]!r} of {name} is not yours to set")
    options = dict(wanted.options)
    if wanted.dropout is not None:
        options["drop_rate"] = wanted.dropout
    if config is not None and config.fixed_input_size:
        options["img_size"] = size
    if found is not None:
        _fits(name, found, options)
        asked["pretrained"] = True
        asked["pretrained_cfg_overlay"] = {
            "state_dict": dict(found.state),
            "num_classes": _outputs(name, found.state),
            "custom_load": False,
        }
    try:
        return timm.create_model(name, **options, **asked)
    except TypeError as error:
        if not wanted.options:
            raise _impossible(name, size, error) from error
        raise SettingsError(
            f"network_options {', '.join(wanted.options)}: timm's {name} cannot be built so: "
            f"{error}"
        ) from error
    except (AssertionError, ValueError) as error:
        raise _impossible(name, size, error) from error
    except RuntimeError as error:
        if found is None:
            raise _impossible(name, size, error) from error
        raise ArtifactError(f"{name}: the weights do not fit this architecture: {error}") from error


def _impossible(name: str, size: int, error: Exception) -> SettingsError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    own = "" if name.startswith(CBAM) else f" (its own is {own_size(name)})"
    return SettingsError(f"model {name} cannot take input_size {size}{own}: {first}")


def _heads(name: str) -> tuple[str, ...]:
    """Return timm's names of a network's classifier."""
    config = _config(name)
    head = None if config is None else config.classifier
    return () if head is None else (head,) if isinstance(head, str) else tuple(head)


def _outputs(name: str, state: dict[str, Any]) -> int:
    """Return how many classes a state dict's classifier has (−1 without one)."""
    for head in _heads(name):
        if f"{head}.weight" in state:
            return int(state[f"{head}.weight"].shape[0])
    return -1


def _fits(name: str, found: sources.Weights, options: dict[str, Any]) -> None:
    """Refuse a file that lacks tensors of the architecture: timm would load the rest silently."""
    if not found.source.startswith("file:"):
        return
    needed = blank(name, num_classes=2, **options).state_dict()
    own = tuple(f"{h}." for h in _heads(name))
    missing = [k for k in needed if k not in found.state and not k.startswith(own or ("\0",))]
    if missing:
        raise ArtifactError(
            f"{found.source.removeprefix('file:')}: no weights of {name}: {len(missing)} of "
            f"{len(needed)} tensors are missing, the first is {missing[0]!r}"
        )
