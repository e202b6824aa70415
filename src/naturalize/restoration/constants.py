"""The tuned numbers of restoration.

Lengths are pixels at the magnification of PBC (red cells of 75 pixels in images of 360 × 363), grey
levels are of 0–255. Unless another origin is named, a number was chosen by eye on PBC images, and
kept because the blind trial (docs: how-to on backgrounds) could not distinguish the restored slide.
"""

# light of the bare slide
#: Around cells that are left out, the widest first: optics blur a cell's edge that far.
MARGINS = (10, 6, 3, 1)
#: Samples of bare slide that a field is fitted to, if a narrower margin leaves so many.
ENOUGH_SLIDE = 400
#: Samples along the shorter side of the image: the field is smooth, more change nothing.
SAMPLES = 120
#: Reach of the local correction, as a share of the shorter side.
LOCAL = 0.07
#: Tukey's biweight at 95 % efficiency (Holland & Welsch 1977).
BIWEIGHT = 4.685
#: Distances from a cell up to which its fringe is measured, and pixels that measure it, at most.
FRINGE, FRINGE_PIXELS = 14, 12_000

# grain
#: Displacements that are tried, at most: more take longer and find no better.
SHIFTS = 600
#: Blocks of bare slide below which it cannot be copied without showing that it was.
FEW_BLOCKS = 4
#: Worth of a block that was copied before, against 1 of a fresh one.
SEEN_TWICE = 0.1
#: Grain of an ordinary photograph, in grey levels, where none at all is seen: PBC's median.
USUAL_GRAIN = 0.8
#: Distances from cells at which the slide's grain is not disturbed by them, the best first.
UNDISTURBED_GRAIN = (5, 3, 1)

# around a removed cell
#: Grey levels by which a cell's halo may still colour the slide, or a red cell.
FAINT, STRONG = 2.0, 7.0
#: Least and largest reach of a halo: over red cells, over slide.
RED_REACH, SLIDE_REACH = (3, 6), (6, 12)
#: Distance within which the stain of white cells is the removed cell's, whatever it lies on.
STAIN_REACH = 24
#: Red + green density from which a hue can be measured.
TINTED = 0.04
#: Beyond the halo, distance in which something that was not outlined still belongs to the cell.
STRAY_REACH = 14
#: Margin around removed cells in which all of that is looked for.
WINDOW = 32
#: Distance from removed cells beyond which the fringes of the others are undisturbed.
UNDISTURBED = 16

# which cells stay
#: Share of a red cell that may be hidden; of which more is hidden, that is taken out too.
MOST_HIDDEN = 0.6
#: Ratio of densities by which cytoplasm stands out from red cells, in robust deviations.
NOT_RED = 5.0
#: Distance from what goes in which a red cell's outline is smoothed.
PRONG = 10

# red cells made whole
#: Least distance from other cells at which an outline is a cell's own.
OWN_OUTLINE = 2.5
#: Share of its radius by which an outline may stand out beside what covers it.
BUMP = 0.06
#: Degrees over which an outline goes from what is seen over to what was fitted.
OUTLINE_FADE = 20.0
#: Outside the outline, what belongs to the cell (its blurred edge), and where it has faded.
EDGE, FADED = 2.0, 5.0
#: Rows of the unrolled cell outside its outline.
OUTER_ROWS = 6
#: Share of the radius that is measured from the rim; further in, from the middle.
RIM = 0.7
#: Outside a visible red cell, what is left as it is, for its blurred edge.
VISIBLE_EDGE = 3
#: Beside a removed cell, the distance in which a gap in front of it is closed.
GAP_REACH = 12

# whole fields
#: Images with a longer side are worked on in tiles.
WHOLE = 1024
#: Side of a tile, and the margin around it that is looked at as well: multiples of 16, so that
#: coding units stay whole. A red cell and its neighbours fit into the margin.
TILE, MARGIN = 512, 160
