"""Images without some of their cells: the light of the slide, its grain, red cells made whole."""

from naturalize.restoration.quality import USABLE
from naturalize.restoration.restore import Restored, scene, without
from naturalize.restoration.slide import illumination

__all__ = ["USABLE", "Restored", "illumination", "scene", "without"]
