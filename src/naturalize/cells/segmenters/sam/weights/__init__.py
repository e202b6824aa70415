"""Weights of foundation models: which are known, and getting, finding and checking them.

Nothing here reaches for the net unless :func:`fetch` is called.
"""

from naturalize.cells.segmenters.sam.weights.known import KNOWN, WeightFile, Weights
from naturalize.cells.segmenters.sam.weights.store import (
    MissingWeightsError,
    State,
    WeightsError,
    fetch,
    find,
    folder,
    known,
    listing,
    verify,
)

__all__ = [
    "KNOWN",
    "MissingWeightsError",
    "State",
    "WeightFile",
    "Weights",
    "WeightsError",
    "fetch",
    "find",
    "folder",
    "known",
    "listing",
    "verify",
]
