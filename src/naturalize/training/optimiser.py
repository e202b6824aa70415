"""Which rate each parameter learns with, and how rates go over a run."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import torch
from torch import nn

from naturalize.base.errors import SettingsError
from naturalize.models.torchvision_compat import ensure
from naturalize.training.settings import TrainSettings


def parameter_groups(network: Any, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: no decay for biases and norms, rates by layer.

    With ``layer_decay`` d, a parameter that lies k layers before the last one learns at
    ``lr · d^k`` (Bao et al., BEiT, 2022); the layers are those that timm knows of the network.
    """
    ensure()
    optim: Any = import_module("timm.optim")
    exempt = network.no_weight_decay() if hasattr(network, "no_weight_decay") else ()
    if settings.layer_decay == 1:
        groups = optim.param_groups_weight_decay(
            network, settings.weight_decay, no_weight_decay_list=exempt
        )
    else:
        groups = optim.param_groups_layer_decay(
            network,
            settings.weight_decay,
            no_weight_decay_list=exempt,
            layer_decay=settings.layer_decay,
        )
        if len({group["lr_scale"] for group in groups}) == 1:
            raise SettingsError(
                f"layer_decay: the layers of {settings.model} are not known; set it to 1"
            )
    for group in groups:
        group["lr"] = settings.lr * group.get("lr_scale", 1.0)
    return groups


def schedule(optimiser: torch.optim.Optimizer, settings: TrainSettings, steps: int) -> Any:
    """Return the schedule of all rates, step by step.

    They are constant while only the head learns, then go by :func:`rate_factor`.
    """
    before = settings.head_epochs * steps
    total = settings.epochs * steps - before
    warmup = min(round(settings.warmup_epochs * steps), total - 1)

    def factor(step: int) -> float:
        return 1.0 if step < before else rate_factor(step - before, total, warmup)

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def rate_factor(step: int, total: int, warmup: int) -> float:
    """Return the factor on the rate at a step: linear up to 1 over ``warmup``, then half a cosine.

    Examples
    --------
    >>> [round(rate_factor(step, 6, 2), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def learning(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that may learn; a network may hold some that never do."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def only_head(network: Any, parameters: list[nn.Parameter], alone: bool) -> None:
    """Let those of the classifier alone learn, or all of ``parameters``."""
    head = {id(parameter) for parameter in network.get_classifier().parameters()}
    for parameter in parameters:
        parameter.requires_grad_(not alone or id(parameter) in head)


def moving_average(network: nn.Module, decay: float) -> Any:
    """Return the exponential moving average of a network's weights and buffers."""
    from torch.optim.swa_utils import AveragedModel

    average = AveragedModel(network, multi_avg_fn=_Move(decay), use_buffers=True)
    return average.requires_grad_(False)  # processes must not wait for gradients that never come


class _Move:
    """torch's own way to move an average, as an object that can be sent to a process."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, averages: Any, currents: Any, n: Any) -> None:
        from torch.optim.swa_utils import get_ema_multi_avg_fn

        get_ema_multi_avg_fn(self.decay)(averages, currents, n)
