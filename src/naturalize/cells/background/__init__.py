"""Images without some of their cells: the light of the slide, its grain, red cells made whole."""

from naturalize.cells.background.illumination import illumination
from naturalize.cells.background.quality import USABLE
from naturalize.cells.background.restore import Restored, scene, without

__all__ = ["USABLE", "Restored", "illumination", "scene", "without"]
