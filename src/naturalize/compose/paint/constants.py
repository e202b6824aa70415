"""The tuned numbers of painting.

Lengths are pixels at the magnification of PBC (red cells of 75 pixels), levels are of 0–255,
densities are optical. Unless another origin is named, a number was chosen by eye on composites of
PBC cells and by what the realism probes still detected.
"""

from __future__ import annotations

import cv2

# the edge of an isolated cell, and its glow
#: Pixels outside the mask over which a cell's own density fades to none.
FADE = 2.75
#: Pixels outside the mask that are kept as they are, where they look like the cell's edge.
OWN_EDGE = 2.0
#: Optical density by which pixels near other cells may differ from the usual at that distance: at
#: the mask, and at the furthest, where a neighbour's own blurred edge may begin.
TOLERANCE = (0.1, 0.04)
#: Distances in pixels to other cells up to which they blur into the edge, and from which they do
#: not.
NEAR_OTHERS = (1.5, 4.0)
#: Quantile of density around the cell that is its edge alone; what is denser are neighbours.
EDGE_ALONE = 0.4
#: Most that the edge moves to where the density is half of what it is inside.
MAX_SHIFT = 1.5
#: Optical density below which pixels at a cell's edge are slide, how deep in pixels a mask may
#: hold such, and how much of the cell must be left.
BARE, DEEPEST, LEAST_LEFT = 0.045, 14.0, 0.75
#: The disc that is too narrow to be left behind.
DISC = (cv2.MORPH_ELLIPSE, (5, 5))
#: Pixels from the mask at which the slide is bare, unless something else lies there.
FAR = 3.0
#: Pixels over which a cell colours the slide around it: a lens does not focus all colours alike,
#: and codecs smear colour.
GLOW = 12
#: Pixels of slide at a distance from which its glow is known; half width in pixels of what another
#: cell hides of it.
SEEN, HIDDEN = 16, 4

# the slide around a surrounded cell
#: Pixels inside the mask from which a cell's pixels stay as the codec left them, and up to which
#: they do not: blocks within the cell are then coded again as they were.
INNER = (4.0, 6.0)
#: Pixels to other cells up to which the slide is not the cell's own, and from which it is.
FREE = (2.0, 6.0)
#: Pixels from the mask between which the slide's colour is taken, from those so far from others,
#: and how many there must be.
AWAY, CLEAR, ENOUGH = (11.0, 22.0), 4.0, 60
#: Pixels from a cell over which it is full of its own slide, and at which there is none.
FULL, NONE = 9.0, 15.0
#: Pixels from a cell over which the glow fades that is made up beside neighbours.
GLOW_FADES = (6.0, 10.0)

# blending
#: Grey levels by which bare slide may differ from what the recipe expects, and its least area.
SLIDE_RANGE, FEW = 14, 24
#: Pixels around a patch that are looked at for the light of its scene.
LIGHT_MARGIN = 8
#: Pixels to anything but slide up to which a scene shows its blur, and from which it does not.
BLURRED = (1.0, 5.0)
#: Most that a scene's light is off from what the recipe expects.
MOST_GAIN = 1.1

# resampling
#: Windows further than this from a whole pixel are resampled.
EXACT = 1e-3
#: Scale up to which a cell is halved by means of areas first: a warp skips pixels beyond that.
HALVED = 0.5
#: Knots along each side of the grid whose random shifts an elastic change interpolates: its waves
#: are about as long as half of the cell, so that it bends the cell and never cuts it.
KNOTS = 5
#: A displacement is at most so many times its root mean square.
MOST_ELASTIC = 3.0
#: Pixels of displacement that may come or go from one pixel to the next: nothing is folded.
STEEPEST = 0.4
#: Standard deviation in pixels of the Gaussian that separates grain from structure, and the grey
#: levels to which grain is held, so that edges are not taken for it.
GRAIN_SIGMA, GRAIN_MOST = 0.8, 8.0
#: Pixels outside the edge that any blend looks at in other patches.
LOOKED_AT = 4

# restored scenes
#: Pixels around what was restored that a cell in its place may reach, with its surroundings.
REACHED = 32
