"""Of what ``layout`` builds its scenes: the statistics of real smears, bare slides, suitable cells.

The statistics say how many cells there are, how large, how near, under which light. They were
measured on real images from their segmentation, one record an acquisition domain, and are kept as a
small file with its source: ``smears.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError, InputError
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.fit import unlike

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


@dataclass(frozen=True, eq=False)
class Sites:
    """S slides that scenes are built on."""

    image: np.ndarray  # int64 (S,): position in the images; −1 for a slide that is only a colour
    #: Int32 (S, 2): canvas; coding unit.
    size: np.ndarray
    unit: np.ndarray
    light: np.ndarray  # float32 (S, 3): RGB
    #: Int32 (S, P): positions in the materials of the cells that suit it.
    red: np.ndarray
    platelets: np.ndarray
    #: Int64 (S,): how many of them there are.
    n_red: np.ndarray
    n_platelets: np.ndarray
    #: Image → positions of its best sites, int64 (N, K); −1 where there are fewer. ``None``: any
    #: site will do.
    near: np.ndarray | None

    @classmethod
    def of(
        cls,
        materials: Materials,
        *,
        bare: bool,
        colour: tuple[float, float, float] | None = None,
        most: int,
        choices: int,
        canvas: tuple[int, int] | None,
        near_any: bool = False,
    ) -> Sites:
        """Return the sites of a bank.

        ``InputError`` if no image has enough bare slide, or none is as large as the canvas.

        ``bare``: a restored slide is needed, and not only a colour. ``colour``: of all slides; by
        default each has its own. At ``most`` so many sites, ``choices`` of them kept for an image.
        ``canvas``: width and height; by default those of the slide. ``near_any``: an image may use
        any of the sites, not only those most like it.
        """
        if not len(materials.images):
            return cls._of_crops(materials, bare, colour, canvas)
        chosen = _slides(materials, bare, most, canvas)
        images, frames = materials.images, materials.images.frames
        size = frames.size[chosen] if canvas is None else np.tile(canvas, (len(chosen), 1))
        cost = unlike(images, np.arange(len(images)), chosen)
        cost[chosen, np.arange(len(chosen))] = 0.0  # its own cells suit a slide best
        red, n_red = _suiting(materials, "rbc", cost, tuned.REDS)
        platelets, n_platelets = _suiting(materials, "platelet", cost, tuned.PLATELETS)
        order = np.argsort(cost, axis=1, kind="stable")[:, :choices]
        good = np.isfinite(np.take_along_axis(cost, order, axis=1))
        everywhere = np.tile(np.arange(len(chosen)), (len(images), 1))
        near = everywhere if near_any else np.where(good, order, -1)
        light = images.light[chosen]
        if colour is not None:
            light = np.full_like(light, colour)
        return cls(
            chosen, size, frames.unit[chosen], light, red, platelets, n_red, n_platelets, near
        )

    @classmethod
    def _of_crops(
        cls,
        materials: Materials,
        bare: bool,
        colour: tuple[float, float, float] | None,
        canvas: tuple[int, int] | None,
    ) -> Sites:
        """Return the one site of a bank without whole images: a colour, and all its cells."""
        if bare:
            raise InputError(
                f"mode layout: the bank holds {len(materials.cells):,} cells and no whole images, "
                "so there is no bare slide; set background to flat, or use a bank that has its "
                "source images"
            )
        usual = smears("pbc")[0]
        red, platelets = (
            materials.others(kind)[materials.whole[materials.others(kind)]][None]
            for kind in ("rbc", "platelet")
        )
        return cls(
            np.array([-1]),
            np.array([canvas or usual.size], np.int32),
            np.ones((1, 2), np.int32),
            np.array([colour or usual.light], np.float32),
            red,
            platelets,
            np.array([red.shape[1]]),
            np.array([platelets.shape[1]]),
            None,
        )

    def targets(self, materials: Materials, label: str) -> np.ndarray:
        """Return the whole target cells of a class for which there is a site that holds them."""
        cells = materials.targets(label)
        cells = cells[materials.whole[cells]]
        longest = materials.size[cells].max(axis=1, initial=0)
        if self.near is None:
            return cells[longest <= self.size.min()]
        sides = self.size.min(axis=1)
        near = self.near[materials.image[cells]]
        room = np.where(near >= 0, sides[near], 0).max(axis=1, initial=0)
        return cells[longest <= room]

    def pick(self, materials: Materials, targets: np.ndarray, chance: np.ndarray) -> np.ndarray:
        """Return a site for each target, by chances in [0, 1), int64."""
        if self.near is None:
            return np.zeros(len(targets), np.int64)
        near = self.near[materials.image[targets]]
        room = np.where(near >= 0, self.size.min(axis=1)[near], 0)
        may = room >= materials.size[targets].max(axis=1, initial=0)[:, None]
        k = (chance * may.sum(axis=1)).astype(int)
        column = np.argsort(~may, axis=1, kind="stable")[np.arange(len(targets)), k]
        return near[np.arange(len(targets)), column]


def _slides(
    materials: Materials, bare: bool, most: int, canvas: tuple[int, int] | None
) -> np.ndarray:
    """Return the images whose slide is used, at most ``most``, each encoder its share."""
    images, frames = materials.images, materials.images.frames
    good = images.share >= tuned.BARE_SLIDE if bare else np.ones(len(images), bool)
    if not good.any():
        raise InputError(
            f"mode layout: none of {len(images):,} images is bare slide to {tuned.BARE_SLIDE:.0%} "
            f"(the most: {images.share.max():.0%}); set background to flat, or in mode "
            "varied crowded and alone to 0"
        )
    if canvas is not None and bare:
        large = good & (frames.size >= canvas).all(axis=1)
        if not large.any():
            widest = frames.size[good].max(axis=0)
            raise InputError(
                f"mode layout: none of {int(good.sum()):,} bare slides is as large as the canvas "
                f"of {canvas[0]} × {canvas[1]} pixels (the largest: {widest[0]} × {widest[1]}); "
                "ask for a smaller canvas, or set background to flat"
            )
        good = large
    chosen = []
    for code in np.unique(frames.encoder[good]).tolist():
        own = np.flatnonzero(good & (frames.encoder == code))
        share = max(1, round(most * len(own) / int(good.sum())))
        # ids are hashes: their order is a draw of its own
        chosen.append(own[:share])
    return np.sort(np.concatenate(chosen)[:most])


def _suiting(
    materials: Materials, kind: str, cost: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each site the whole cells of a kind from the images most like it, (S, most)."""
    cells = materials.others(kind)
    cells = cells[materials.whole[cells]]
    cells = cells[np.argsort(materials.image[cells], kind="stable")]
    owner = materials.image[cells]
    starts = np.searchsorted(owner, np.arange(len(cost) + 1))
    pools = np.zeros((cost.shape[1], most), np.int32)
    sizes = np.zeros(cost.shape[1], np.int64)
    for site, column in enumerate(cost.T):
        n = 0
        for image in np.argsort(column, kind="stable").tolist():
            if n >= most or not np.isfinite(column[image]):
                break
            own = cells[starts[image] : starts[image + 1]][: most - n]
            pools[site, n : n + len(own)] = own
            n += len(own)
        sizes[site] = n
    return pools, sizes
