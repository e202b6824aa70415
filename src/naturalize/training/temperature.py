"""How sure a network may be: one number, fitted on validation images."""

from __future__ import annotations

import numpy as np

#: Temperatures that are looked through.
_COLDEST, _HOTTEST = 0.05, 20.0


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
