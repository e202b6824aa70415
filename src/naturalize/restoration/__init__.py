"""Images without some of their cells: the light of the slide, its grain, red cells made whole."""

from naturalize.restoration.illumination import illumination
from naturalize.restoration.quality import USABLE
from naturalize.restoration.restore import Restored, scene, without

__all__ = ["USABLE", "Restored", "illumination", "scene", "without"]
