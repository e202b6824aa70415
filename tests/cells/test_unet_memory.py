"""Memory of the network as a segmenter, on a whole field: bounded by a tile, not by the field."""

from __future__ import annotations

import subprocess
import sys

MEASURED = """
import resource, sys
import numpy as np
from naturalize.cells.segmenters import segmenter
from naturalize.cells.tiling import Tiled
from naturalize.dataset.phantom import render_phantom

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

image = render_phantom("LY", 5, 0).image
find = Tiled(segmenter("unet"))
one = find.segment(image)
small = peak()
n = int(sys.argv[1])
field = np.tile(image, (n, n, 1))
found = find.segment(field)
print(peak() - small, field.nbytes, len(one.of("wbc")) * n * n, len(found.of("wbc")))
"""


def test_a_field_of_8_megapixels_takes_no_more_than_a_quarter_of_a_gigabyte() -> None:
    """8 × 8 smears: the field that filled 20 GB when all pixels met all centres at once."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "8"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rise, field, wanted, found = (int(word) for word in done.stdout.split())
    assert field > 25e6
    assert rise < 250e6
    assert abs(found - wanted) <= 0.1 * wanted
