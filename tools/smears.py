"""Measures ``src/naturalize/compose/draw/smears.json`` on the images of a bank.

    python -m tools.smears BANK -o src/naturalize/compose/draw/smears.json \
        --source "PBC (Acevedo et al. 2020, doi 10.17632/snkd93bnjr.1, CC BY 4.0), training images"

What is measured: see ``naturalize.compose.draw.smears.measure``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from naturalize.base.artifacts import write_json
from naturalize.cells.bank import CellBank
from naturalize.compose.draw.smears import LEVELS, measure


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bank", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--source", required=True, help="the images, and their terms")
    parser.add_argument("--segmenter", default="classical", help="what found the cells")
    options = parser.parse_args()
    bank = CellBank.load(options.bank)
    content = {
        "source": options.source,
        "method": f"segmenter {options.segmenter}; python -m tools.smears, which calls "
        "naturalize.compose.draw.smears.measure. Distributions are their values at the shares "
        "given as levels (0.01 and 0.99 at the ends); counts are for 100,000 pixels, diameters are "
        "pixels, "
        "distances are over the sum of the radii (1 touches)",
        "levels": LEVELS.round(3).tolist(),
        **measure(bank),
    }
    write_json(options.out, content)
    for domain in content["domains"]:
        print(domain["name"], domain["n_images"])


if __name__ == "__main__":
    main()
