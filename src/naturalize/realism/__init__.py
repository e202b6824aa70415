"""How real do composites look? Classifiers, distances and people try to tell them.

``probe`` asks about arrays of images, ``realism`` about a plan and its bank, ``write_sheet`` asks a
person. PyTorch is needed for two of the three probes only, and loaded when they run.
"""

from naturalize.realism.observers import PersonScore, score_guesses, write_sheet
from naturalize.realism.probing import ProbeResult, probe
from naturalize.realism.run import Realism, realism

__all__ = [
    "PersonScore",
    "ProbeResult",
    "Realism",
    "probe",
    "realism",
    "score_guesses",
    "write_sheet",
]
