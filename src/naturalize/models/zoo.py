"""Networks by name: our own, a curated list, and any other name that timm knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naturalize.base.console import warn
from naturalize.base.errors import ArtifactError, SettingsError, closest
from naturalize.models import weights as sources
from naturalize.models.preprocess import View
from naturalize.models.torchvision_compat import ensure

if TYPE_CHECKING:
    from torch import nn

#: timm names that the paper speaks of or that suit small images; every other timm name works too.
CURATED = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "tf_efficientnetv2_b0",
    "mobilenetv2_100",
    "resnet18",
    "resnet50",
    "densenet121",
    "densenet201",
    "vgg19",
    "inception_v3",
    "legacy_xception",
    "convnext_tiny",
    "vit_tiny_patch16_224",
    "vit_base_patch16_224",
)

#: Names of this project's own networks.
OWN = ("custom_cnn",)

_OWN_SIZE = 128


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network again and to feed it.

    ``mean`` and ``std`` are on a 0–1 scale; ``weights_source`` is what training started from;
    ``temperature`` divides the logits; ``crop`` and ``balanced``: see ``preprocess.View``.
    """

    architecture: str
    classes: tuple[str, ...]
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights_source: str
    temperature: float = 1.0
    crop: float = 1.0
    balanced: bool = False

    @property
    def view(self) -> View:
        """What the network gets to see of an image."""
        return View(self.input_size, self.crop, self.balanced)


@dataclass(frozen=True)
class Network:
    """A module that takes normalised (N, 3, H, W) to logits (N, C), and its configuration."""

    module: nn.Module = field(repr=False)
    config: NetworkConfig


def names() -> list[str]:
    """Return the names that are listed to the user; any other timm name is accepted too."""
    return [*OWN, *CURATED]


def build(
    name: str,
    n_classes: int | Sequence[str],
    *,
    weights: str = "auto",
    input_size: int | None = None,
    dropout: float | None = None,
) -> Network:
    """Build a network.

    Parameters
    ----------
    name
        One of :func:`names`, or any timm name.
    n_classes
        The class names in order, or only how many there are.
    weights
        ``"auto"`` (the best that this machine has, else scratch with a warning), ``"imagenet"``,
        ``"download"``, ``"none"``, or a path; see :func:`naturalize.models.weights.find`.
    input_size
        Side of the input in pixels; the architecture's own by default.
    dropout
        Share of the pooled features dropped in training; the architecture's own by default.

    Raises
    ------
    SettingsError
        For an unknown name, a size that the architecture cannot take, or absent weights.
    ArtifactError
        For a file of weights that is damaged or of another architecture.
    """
    classes = (
        tuple(str(i) for i in range(n_classes)) if isinstance(n_classes, int) else tuple(n_classes)
    )
    if len(classes) < 2:
        raise SettingsError(f"a network needs two classes or more, got {len(classes)}")
    check(name)
    if name in OWN:
        return _build_own(name, classes, weights, input_size, dropout)
    return _build_timm(name, classes, weights, input_size, dropout)


def channels_last(module: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out channels last, several times faster on a processor."""
    import torch

    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def check(name: str) -> None:
    """Raise ``SettingsError``, with the nearest names, if no network is called ``name``."""
    if name in names():
        return
    ensure()
    import timm

    if not timm.is_model(name.partition(".")[0]):
        known = [*names(), *timm.list_models()]
        raise SettingsError(
            f"unknown model {name!r}{closest(name, known)}; choose from: {', '.join(names())}, "
            "or any name that timm lists"
        )


def _build_own(
    name: str, classes: tuple[str, ...], wanted: str, size: int | None, dropout: float | None
) -> Network:
    from naturalize.models.custom_cnn import CustomCNN

    if wanted in ("imagenet", "download"):
        raise SettingsError(f"{name} is trained from scratch: there are no ImageNet weights for it")
    size = size or _OWN_SIZE
    if size < 16:
        raise SettingsError(f"input_size: {name} needs 16 pixels or more, got {size}")
    options: dict[str, Any] = {} if dropout is None else {"drop_rate": dropout}
    module = CustomCNN(len(classes), **options)
    source = "scratch"
    if wanted not in ("auto", "none"):
        found = sources.find(name, wanted)
        assert found is not None
        _load(module, found, "classifier", name)
        source = found.source
    half = (0.5, 0.5, 0.5)
    return Network(module, NetworkConfig(name, classes, size, half, half, source))


def _build_timm(
    name: str, classes: tuple[str, ...], wanted: str, size: int | None, dropout: float | None
) -> Network:
    ensure()
    import timm

    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    found = sources.find(name, wanted)
    if found is None and wanted == "auto":
        warn(
            f"{name}: no ImageNet weights on this machine, so it starts from scratch; "
            f"ways to get them: {sources.ways(name)}"
        )
    own_size = config.input_size[-1] if config is not None else 224
    size = size or own_size
    options: dict[str, Any] = {} if dropout is None else {"drop_rate": dropout}
    if config is not None and config.fixed_input_size:
        options["img_size"] = size
    head = config.classifier if config is not None else None
    if found is not None:
        _fits(name, found, head, options)
        n_there = _outputs(found.state, head)
        options["pretrained"] = True
        options["pretrained_cfg_overlay"] = {
            "state_dict": dict(found.state),
            "num_classes": n_there,
            "custom_load": False,
        }
    try:
        module = timm.create_model(name, num_classes=len(classes), **options)
    except (AssertionError, ValueError, TypeError) as error:
        raise SettingsError(f"model {name}, input_size {size}: {error}") from error
    except RuntimeError as error:
        raise ArtifactError(f"{name}: the weights do not fit this architecture: {error}") from error
    mean, std = (config.mean, config.std) if config is not None else ((0.5,) * 3, (0.5,) * 3)
    if found is not None and found.mean and found.std:
        mean, std = found.mean, found.std
    source = found.source if found is not None else "scratch"
    return Network(module, NetworkConfig(name, classes, size, tuple(mean), tuple(std), source))


def _heads(head: Any) -> tuple[str, ...]:
    return () if head is None else (head,) if isinstance(head, str) else tuple(head)


def _outputs(state: dict[str, Any], head: Any) -> int:
    """Return how many classes a state dict's classifier has (−1 without one)."""
    for name in _heads(head):
        if f"{name}.weight" in state:
            return int(state[f"{name}.weight"].shape[0])
    return -1


def _fits(name: str, found: sources.Weights, head: Any, options: dict[str, Any]) -> None:
    """Refuse a file that lacks tensors of the architecture: timm would load the rest silently."""
    if not found.source.startswith("file:"):
        return
    import timm

    needed = timm.create_model(name, num_classes=2, **options).state_dict()
    own = tuple(f"{h}." for h in _heads(head))
    missing = [k for k in needed if k not in found.state and not k.startswith(own or ("\0",))]
    if missing:
        raise ArtifactError(
            f"{found.source.removeprefix('file:')}: no weights of {name}: {len(missing)} of "
            f"{len(needed)} tensors are missing, the first is {missing[0]!r}"
        )


def _load(module: nn.Module, found: sources.Weights, head: str, name: str) -> None:
    """Load all but a classifier of another size."""
    own = module.state_dict()
    state = {
        k: v
        for k, v in found.state.items()
        if not (k.startswith(f"{head}.") and k in own and own[k].shape != v.shape)
    }
    dropped = {k for k in own if k.startswith(f"{head}.") and k not in state}
    wrong = [
        k for k in own if k not in dropped and (k not in state or state[k].shape != own[k].shape)
    ]
    if wrong or set(state) - set(own):
        first = (wrong or sorted(set(state) - set(own)))[0]
        raise ArtifactError(
            f"{found.source.removeprefix('file:')}: no weights of {name} (see tensor {first!r})"
        )
    module.load_state_dict(state, strict=False)
