"""Composites: recipes, the plan that draws them, the pure function that paints them. No torch.

Usable alone: ``from naturalize.compose import plan, render`` and the names below.
"""

from naturalize.compose.deliver.dataset import CompositeDataset
from naturalize.compose.deliver.fields import ComposedField, ComposedFields, fields
from naturalize.compose.deliver.transform import Naturalize
from naturalize.compose.deliver.truth import Truth, truth
from naturalize.compose.draw.modes import MODES
from naturalize.compose.draw.planner import plan
from naturalize.compose.draw.targets import named
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import render
from naturalize.compose.paint.scenes import Scenes
from naturalize.compose.recipe.plan import Plan
from naturalize.compose.recipe.recipe import Background, Camera, Finish, Placement, Recipe

__all__ = [
    "MODES",
    "Background",
    "Camera",
    "ComposedField",
    "ComposedFields",
    "CompositeDataset",
    "CropStore",
    "Finish",
    "Naturalize",
    "Placement",
    "Plan",
    "Recipe",
    "Scenes",
    "Truth",
    "fields",
    "named",
    "plan",
    "render",
    "truth",
]
