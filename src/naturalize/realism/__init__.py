"""How real do composites look? Classifiers, distances and observers try to distinguish them.

``probe`` takes arrays of images, ``realism`` a plan and its bank; ``write_sheet`` is for observers.
PyTorch is needed for two of the three probes only, and loaded when they run.
"""

from naturalize.realism.observers import ObserverScore, score_guesses, write_sheet
from naturalize.realism.probing import ProbeResult, probe
from naturalize.realism.run import Realism, realism

__all__ = [
    "ObserverScore",
    "ProbeResult",
    "Realism",
    "probe",
    "realism",
    "score_guesses",
    "write_sheet",
]
