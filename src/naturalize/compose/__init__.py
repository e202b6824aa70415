"""Composites: recipes, the plan that draws them, the pure function that paints them. No torch.

Usable alone: ``from naturalize.compose import plan, render`` and the names below.
"""

from naturalize.compose.crops import CropStore
from naturalize.compose.dataset import CompositeDataset
from naturalize.compose.modes import MODES
from naturalize.compose.plan import Plan
from naturalize.compose.planner import plan
from naturalize.compose.recipe import Background, Finish, Placement, Recipe
from naturalize.compose.render import render
from naturalize.compose.targets import named
from naturalize.compose.transform import Naturalize
from naturalize.compose.truth import Truth, truth

__all__ = [
    "MODES",
    "Background",
    "CompositeDataset",
    "CropStore",
    "Finish",
    "Naturalize",
    "Placement",
    "Plan",
    "Recipe",
    "Truth",
    "named",
    "plan",
    "render",
    "truth",
]
