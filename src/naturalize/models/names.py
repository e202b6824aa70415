"""Names of networks: those listed, how papers write them, and what timm calls them."""

from __future__ import annotations

import re

from naturalize.base.errors import SettingsError, closest
from naturalize.models import shipped
from naturalize.models.torchvision_compat import ensure

#: Names of this project's own networks.
OWN = ("custom_cnn", "custom_cnn_cbam")

#: What the name of a CBAM ensemble begins with; its members follow, with + between them.
CBAM = "cbam:"

#: How papers write it → what timm calls it. Case, dashes and slashes do not matter.
SPOKEN = {
    "EfficientNet-Lite0": "tf_efficientnet_lite0",
    "EfficientNet-Lite1": "tf_efficientnet_lite1",
    "EfficientNet-Lite2": "tf_efficientnet_lite2",
    "EfficientNetV2-B0": "tf_efficientnetv2_b0",
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

#: timm names that the paper speaks of or that suit small images; every other timm name works too.
CURATED = tuple(dict.fromkeys(name for name in SPOKEN.values() if name not in OWN))


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
