"""How sure a network may be: one number, fitted on validation images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    from naturalize.models.config import Network

#: Temperatures that are looked through.
_COLDEST, _HOTTEST = 0.05, 20.0

#: Images below which there is too little to fit, as there is where nothing is wrong.
_ENOUGH = 100


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the temperature T at which softmax(logits / T) is most likely (Guo et al., ICML 2017).

    It changes how sure a network says it is, never what it says.

    Parameters
    ----------
    logits
        float (N, C), of images that were not trained on.
    targets
        int (N,): the true classes.

    Returns
    -------
    float
        0.05 to 20; below 1 where the network is too timid, as after label smoothing and MixUp.

    Examples
    --------
    >>> timid = np.log([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4]])
    >>> fit_temperature(timid, np.array([0, 1, 0])) < 1
    True
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = np.asarray(logits, np.float64)
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        said = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-said[rows, targets].mean())

    bounds = (np.log(_COLDEST), np.log(_HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def validation_temperature(network: Network, batches: Iterable[dict[str, torch.Tensor]]) -> float:
    """Return the temperature that fits a network's answers on validation batches.

    1 where there are fewer than 100 images, or none that the network gets wrong.
    """
    import torch

    from naturalize.models.preprocess import normalise

    module, config = network.module.eval(), network.config
    device = next(module.parameters()).device
    logits, targets = [], []
    with torch.inference_mode():
        for batch in batches:
            x = normalise(batch["pixels"].to(device), config.mean, config.std)
            logits.append(module(x).float().cpu().numpy())
            targets.append(batch["target"].numpy())
    said, true = np.concatenate(logits), np.concatenate(targets)
    if len(true) < _ENOUGH or bool((said.argmax(axis=1) == true).all()):
        return 1.0
    return round(fit_temperature(said, true), 4)
