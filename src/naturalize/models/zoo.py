"""Networks by name: our own, CBAM ensembles, a curated list, and any other name that timm knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import SettingsError
from naturalize.models.config import Network, NetworkConfig, Wanted, json_options
from naturalize.models.names import CBAM, CURATED, OWN, names, resolve

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CURATED", "OWN", "Network", "NetworkConfig", "build", "channels_last", "names"]


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
        from naturalize.models.own import build_own

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
