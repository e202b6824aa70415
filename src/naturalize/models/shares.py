"""From logits to probabilities, and to the mean of several: in numpy, for every engine alike."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probabilities (N, C) of logits (N, C) divided by ``temperature``, float32.

    Examples
    --------
    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    scaled = logits.astype(np.float32) / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities (N, C) by ``temperature``."""
    if temperature == 1:
        return probabilities
    powered = probabilities ** (1 / temperature)
    return powered / powered.sum(axis=-1, keepdims=True)
