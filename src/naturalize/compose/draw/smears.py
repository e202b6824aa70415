"""What smears look like, in numbers: how many cells, how large, how near, under which light.

Measured on real images from their segmentation, one record an acquisition domain, and kept as a
small file with its source: ``smears.json``. The ``layout`` mode draws from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError

#: Shares at which a distribution is kept (0.01 and 0.99 stand for the ends, which are mistakes of
#: the segmenter); between them it is read off a straight line.
LEVELS = np.linspace(0, 1, 21)

#: What is kept as a distribution.
DISTRIBUTIONS = (
    "red_cells_per_100k",
    "platelets_per_100k",
    "red_diameter",
    "nearest_red_cells",
    "nearest_to_target",
)


@dataclass(frozen=True, eq=False)
class Smear:
    """Statistics of one domain."""

    name: str
    light: tuple[float, float, float]  # median RGB of the bare slide
    size: tuple[int, int]  # usual width and height of an image
    quantiles: Mapping[str, np.ndarray]  # distribution → its values at ``LEVELS``, float64 (21,)

    def draw(self, what: str, chance: np.ndarray) -> np.ndarray:
        """Return values of a distribution by chances in [0, 1)."""
        return np.interp(chance, LEVELS, self.quantiles[what])


def smears(source: str) -> tuple[Smear, ...]:
    """Return the domains of ``"pbc"``, which comes with the package, or of a file like it.

    ``ArtifactError`` if the file is missing or is not of this form.
    """
    if source != "pbc":
        return _parsed(read_json(Path(source)), source)
    file = resources.files("naturalize.compose.draw") / "smears.json"
    with resources.as_file(file) as path:
        return _parsed(read_json(path), "smears.json")


def _parsed(content: Any, name: str) -> tuple[Smear, ...]:
    try:
        found = tuple(
            Smear(
                domain["name"],
                tuple(float(c) for c in domain["light"]),  # type: ignore[arg-type]
                (int(domain["size"][0]), int(domain["size"][1])),
                {what: np.array(domain[what], np.float64) for what in DISTRIBUTIONS},
            )
            for domain in content["domains"]
        )
        good = all(
            values.shape == LEVELS.shape and np.isfinite(values).all() and (values >= 0).all()
            for one in found
            for values in one.quantiles.values()
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ArtifactError(f"{name}: no statistics of smears (at {error})") from error
    if not found or not good:
        raise ArtifactError(
            f"{name}: no statistics of smears; each distribution is {len(LEVELS)} numbers"
        )
    return found
