"""The quality gate: composites that fail are drawn again, and it is counted why.

A composite fails where its white cell is cut, where painting it changed pixels that are
none of its own, where its colour, the steepness of its edge or the fullness of its scene lie
outside the range of real images of the same bank, where its scene was restored poorly, or where the
mask of its white cell had left out a part of that cell.
"""

from naturalize.compose.draw.gate.limits import Limits, Look, look, real_limits
from naturalize.compose.draw.gate.redraw import ROUNDS, gated
from naturalize.compose.draw.gate.verdict import judge, judge_all, left_out

__all__ = [
    "ROUNDS",
    "Limits",
    "Look",
    "gated",
    "judge",
    "judge_all",
    "left_out",
    "look",
    "real_limits",
]
