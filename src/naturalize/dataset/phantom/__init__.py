"""A procedural smear: images of the eleven classes with exact truth, for the demo and the tests.

It looks like May Grünwald-Giemsa smears photographed by a CellaVision DM96 (the look of PBC). It is
no evidence for any claim about blood.
"""

from naturalize.dataset.phantom.scene import CLASSES, PhantomCell, PhantomImage, render_phantom
from naturalize.dataset.phantom.write import write_phantom

__all__ = ["CLASSES", "PhantomCell", "PhantomImage", "render_phantom", "write_phantom"]
