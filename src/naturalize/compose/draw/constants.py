"""The tuned numbers of drawing recipes.

Lengths are pixels at the magnification of PBC (red cells of 75 pixels in images of 360 × 363), grey
levels are of 0–255. Unless another origin is named, a number was chosen by eye on PBC images, on
sheets of real beside composite images. Defaults of settings stand with the settings.
"""

import numpy as np

# which scene suits a cell: what counts as much as one
#: Share of the old cell that stays uncovered; share of the new one that stands out over it; pixels
#: that it is moved for the sake of the codec's grid.
UNCOVERED, STANDS_OUT, MOVED = 0.06, 0.12, 4.0
#: Grey levels of light; share of red cells' density; of their sharpness, logarithm.
LIGHT, RED, FOCUS = 4.0, 0.08, 0.25
#: That a cell's image is less sharp than the scene counts more: a cell cannot be sharpened.
BLURRED = 2.0
#: Cost of an image from another encoder.
OTHER_ENCODER = 3.0
#: Light of images that may be combined differs by no more than this, in grey levels.
MOST_LIGHT = 14.0
#: Cells of the grid by which outlines are compared.
OUTLINE_GRID = 16

# which cells and images may be used
#: Share of an image that must be bare slide: for a restored scene, for a slide without any cell.
SCENE_SLIDE, BARE_SLIDE = 0.2, 0.4
#: Share of a cell's outline that may lie against others: what it hid of them must be guessed.
MOST_CONTACT = 0.6
#: Cells from which the red cells and the platelets of a slide are drawn.
REDS, PLATELETS = 64, 16
#: Platelets of a scene, at most: three times as many as 99 of 100 PBC images (``smears.json``).
MOST_PLATELETS = 12
#: Part of its diameter with which a cell reaches into the canvas at least.
INSIDE = 0.1

# matching a cell to its scene
#: Most by which density is changed for the sake of the scene, as a share.
MOST_DENSITY = 0.15
#: Logarithm of sharpness by which a cell is too sharp for its scene, and the sigma in pixels that
#: takes away so much of it: median of 120 PBC red cells, before and after a blur.
SHARPER = np.array([0.45, 0.63, 0.75, 0.95, 1.1, 1.34])
SIGMA = np.array([0.5, 0.55, 0.6, 0.7, 0.8, 1.0])
#: Factors on density nearer to 1 than this change nothing that could be seen.
SAME_DENSITY = 0.015
#: Grey levels by which two slides may differ and a blend still takes both for slide.
SAME_SLIDE = 8.0

# the gate
#: Real images of a class that are measured, and the least that give a class its own limits.
REAL, ENOUGH_REAL = 48, 12
#: Quantiles of real images; the share of what lies between by which limits are wider, and the least
#: by which they are, where all images of a class are alike.
QUANTILES, WIDER, AT_LEAST = (0.01, 0.99), 0.25, 0.02
#: Optical density (green) from which a pixel is no bare slide.
STAINED = 0.05
#: Modes that set cells alone on a slide by intent: emptier than any real image.
SET_ALONE = ("layout", "varied")
#: Pixels beyond a cell's outline that its edge may change: patches end there.
EDGE_REACH = 5
#: Grey levels by which a pixel counts as changed.
CHANGED = 6
#: Share of the cell: of it outside the canvas, and changed beyond its edge.
CUT, LEAK = 0.02, 0.02
#: Share of a cell that its mask may have left out: 0.06 in 19 of 20 accepted PBC cells.
LEFT_OUT = 0.12

# whole fields
#: Step of a stack as a share of the diameter, σ of its bend from cell to cell (radians), σ of a
#: cell's place in radii; how much narrower its cells are, seen aslant.
STACK_STEP, STACK_BEND, STACK_JITTER, ASLANT = (0.22, 0.62), 0.16, 0.06, (0.7, 1.0)
#: Most cells of a stack and of a clump of platelets.
STACKED, CLUMPED = 9, 12
#: Step of a clump as a share of the diameter.
CLUMP_STEP = (0.75, 1.1)
#: Share of red cells that may touch or overlap others where they come to lie so.
MAY_TOUCH = 0.55
#: How many times as much it counts to go into a white cell, or for a platelet into anything.
HARD = 4.0
#: Platelets for each red cell, median and σ of the logarithm (PBC: one to 12 red cells), and share
#: of them that lies on red cells.
PLATELET_RATE, ON_RED = (0.07, 0.7), 0.08
#: Most of the outline of a red cell or platelet that lay against others: its edge is its own.
TOUCHED = 0.05
#: Images that lend a field its red cells: the most like one of them.
LENDERS = 40
#: Share of the canvas that white cells cover at most, but for the first one.
MOST_WHITE = 0.35
#: Most by which the density of a cell is changed for the sake of its field (logarithm), and σ of
#: what differs from cell to cell.
FIELD_DENSITY, CELL_DENSITY = 0.6, 0.05
#: Qualities of JPEG, evenly drawn where cameras vary.
FIELD_QUALITIES = tuple(range(50, 100, 5))
