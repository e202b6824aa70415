"""The tuned numbers of the classical segmenter, in one table.

They were set by hand. Those of nuclei separate PBC's platelet folder from its erythroblasts and
keep the weakly stained nuclei of other laboratories; the trials behind the others are not recorded.
The figures of ``docs/reference/segmentation.md`` were measured with all of them.
Areas are in areas of a red cell, lengths in its radii, stain in optical density.
"""

from __future__ import annotations

# -- the image ------------------------------------------------------------------------------------

#: Images whose shorter side (pixels) is above this are segmented at half resolution.
FULL_RESOLUTION_UP_TO = 240
#: Blue density of red cells, as a share of red + green, where none can be measured, and its range.
USUAL_BLUE, BLUE_RANGE = 0.36, (0.3, 0.9)
#: Blur (pixels), and the range in which the noise of the slide's density is believed.
BLUR, NOISE_RANGE = 0.7, (0.004, 0.04)
#: Density from which a pixel is no slide, beside the noise.
TINTED = 0.02

# -- red cells ------------------------------------------------------------------------------------

#: Shorter sides of an image to a red cell's radius where it cannot be measured, and the range of
#: radii, in that one.
SIDES_TO_RADIUS, RADIUS_RANGE = 9.6, (0.55, 2.2)
#: Foreground: times the noise to be stained at all, then times the noise or of the typical density.
STAINED, ABOVE_NOISE, OF_TYPICAL = 4, 3.5, 0.45
#: A lone disc: width to height, and share of its box (π/4 of a perfect one).
ROUND, FILLED = (0.7, 1.43), (0.70, 0.86)
#: Quantile of the area-weighted radii that is taken, and its correction: cut and pale cells are too
#: small, none too large. A white cell is so many times as wide as a red one.
RADIUS_QUANTILE, RADIUS_FACTOR, WHITE_TO_RED = 0.65, 1.05, 1.4
#: Height of a maximum of the distance transform that separates two cells, and least area of a cell.
SEPARATED, LEAST_RED = 0.06, 0.08

# -- nuclei and white cells -----------------------------------------------------------------------

#: Azure density of a nucleus: share of the densest in the image, that quantile, and its range.
NUCLEAR_SHARE, NUCLEAR_QUANTILE, NUCLEAR_RANGE = 0.42, 0.998, (0.15, 0.45)
#: Azure density that nuclei reach and platelets seldom do.
DENSE = 0.6
#: Distance within which lobes are one group, and least area of a group that may be a nucleus.
LOBES_APART, LEAST_NUCLEUS = 0.2, 0.12
#: A nucleus: dense over this area; or of this area; or of this area and less uneven than this.
DENSE_AREA, LARGE_AREA, EVEN_AREA, EVEN = 0.36, 1.1, 0.45, 0.255
#: With cytoplasm: outlines of these areas around a nucleus that is dense over this area or even, or
#: of this area.
CYTOPLASM, WIDE_CYTOPLASM = 1.3, 1.9
DENSE_WITH_CYTOPLASM, EVEN_WITH_CYTOPLASM, AREA_WITH_CYTOPLASM = 0.13, (0.4, 0.28), 0.3
#: Near and far from nuclei, where colours are compared.
NEAR, FAR = 0.7, 1.7
#: Weight of the usual colours of slide and red cells among those seen far from nuclei.
PRIOR = 0.1
#: Longest radius of a white cell, and the factor where that is too short.
REACH, FARTHER = 3.2, 1.8
#: Appendages narrower than this are cut off, unless less than this share is left.
APPENDAGE, LEFT = 0.14, 0.6
#: Lobes of one cell: largest extent together, and largest area of a lobe.
EXTENT, LARGEST_LOBE = 2.9, 0.85

# -- size alone -----------------------------------------------------------------------------------

#: Shorter side down to which an image is shrunk, and the distance within which lobes are one
#: nucleus. Chosen among 60 to 96 and 0.2 to 0.7 on half of the images of
#: ``benchmarks/cell_size.py``.
SIZED_AT, LOBES_TOGETHER = 72, 0.7

# -- platelets ------------------------------------------------------------------------------------

#: Azure density of a platelet and of its pale rim, and its range of areas.
PLATELET, RIM, PLATELET_AREA = 0.15, 0.045, (0.025, 1.1)

# -- scores ---------------------------------------------------------------------------------------

#: Every cell of a kind has this score: the segmenter does not measure its own confidence.
SCORES = {"wbc": 0.9, "rbc": 0.8, "platelet": 0.7}
