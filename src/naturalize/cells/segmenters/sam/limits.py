"""The tuned numbers of this room, each with its origin.

"Chosen": no measurement of the number alone is on record; what all of them give together is in
``docs/reference/segmentation.md``.
"""

from __future__ import annotations

# -- which of the masks offered for a cell is the cell (``prompted``) --

#: Mean optical density from which a pixel is stained; the slide's noise is a quarter of it.
STAINED = 0.04

#: Pixels below which a mask is no cell. Chosen.
LEAST_PIXELS = 8

#: Below this quality no mask of the model is the cell: the detector's own stays, with this score,
#: which is too low for a bank. Chosen.
LEAST_QUALITY = 0.25

# -- masks of a grid of points (``everything``) --

#: Half the difference of thresholds within which a stable mask stays the same, in logits; and the
#: intersection over union from which two boxes are of one mask. Both are SAM's own.
SHIFT, SAME_BOX = 1.0, 0.7

# -- what a mask of anything is (``everything``); areas in those of a red cell; chosen --

#: Least share of stained pixels: less is slide, or a cell with slide around it.
STAINED_SHARE = 0.7

#: Least solidity of a cell; less is a clump, or slide between cells.
CONVEX = 0.8

#: Share of the stained image from which a mask is no cell.
LARGEST = 0.4

#: Least and largest areas of white cells, red cells and platelets.
WHITE, RED, PLATELET = (0.4, 9.0), (0.08, 2.5), (0.02, 1.1)

#: Density from which a pixel has azure stain, and least share of such pixels in a platelet.
AZURE, AZURE_SHARE = 0.1, 0.5

#: Red cells that give the usual area: largest share of azure, least solidity, area in those of a
#: red cell of a usual single-cell image, whose radius is this share of its shorter side.
PLAIN_AZURE, PLAIN_CONVEX, PLAIN_AREA, PLAIN_RADIUS = 0.2, 0.93, (0.2, 4.0), 1 / 9.6

#: One mask lies in another if this share of it does.
INSIDE = 0.85

#: A clump: its least area if it holds a whole cell, and that cell's; or the areas of its parts as
#: shares of its own, what two parts may share, and how much of it they cover.
CLUMP, CLUMP_CELL, CLUMP_PART, CLUMP_SHARED, CLUMP_COVERED = 1.4, 0.7, (0.3, 0.9), 0.4, 0.75
