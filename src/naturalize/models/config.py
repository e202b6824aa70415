"""What a network is: the configuration that builds and feeds it, and the pair of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naturalize.base.errors import SettingsError
from naturalize.models.preprocess import View
from naturalize.models.standard import Standard

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network again and to feed it.

    ``mean`` and ``std`` are on a 0–1 scale; ``weights_source`` is what training started from;
    ``temperature`` divides the logits; ``crop`` and ``balanced``: see ``preprocess.View``;
    ``standard`` is what training images looked like, if that was measured; ``options`` are settings
    of the architecture itself that differ from its own, JSON values.
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
    standard: Standard | None = None
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def view(self) -> View:
        """What the network gets to see of an image."""
        return View(self.input_size, self.crop, self.balanced)


@dataclass(frozen=True)
class Network:
    """A module that takes normalised (N, 3, H, W) to logits (N, C), and its configuration."""

    module: nn.Module = field(repr=False)
    config: NetworkConfig


@dataclass(frozen=True)
class Wanted:
    """What is asked of a builder; see :func:`naturalize.models.zoo.build` for each of them."""

    name: str
    classes: tuple[str, ...]
    weights: str
    input_size: int | None
    dropout: float | None
    options: dict[str, Any]


def json_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return options as a model folder will give them back: lists for tuples, text for keys.

    Raises
    ------
    SettingsError
        If a value is none that JSON knows.
    """
    try:
        return json.loads(json.dumps(dict(options or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SettingsError(f"network options: numbers, texts and lists only ({error})") from error
