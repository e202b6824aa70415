"""Composites: recipes, the plan that draws them, the pure function that paints them. No torch."""

from naturalize.compose.crops import CropStore
from naturalize.compose.modes import MODES
from naturalize.compose.plan import Plan
from naturalize.compose.recipe import Background, Finish, Placement, Recipe
from naturalize.compose.targets import named

__all__ = [
    "MODES",
    "Background",
    "CropStore",
    "Finish",
    "Placement",
    "Plan",
    "Recipe",
    "named",
]
