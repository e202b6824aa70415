"""Of which cells ``field`` draws: red cells and platelets of images that look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from naturalize.base.errors import InputError
from naturalize.compose.draw import constants as tuned
from naturalize.compose.draw.materials import Materials
from naturalize.compose.draw.modes.sites import smears


@dataclass(frozen=True, eq=False)
class Stock:
    """The images that lend red cells and platelets, each a home that a field can be like."""

    lenders: np.ndarray  # int (L,): positions in the images; −1 for a bank without images
    light: np.ndarray  # float (L, 3): RGB of their slide
    red: list[np.ndarray]  # for each, positions of red cells of the images most like it
    platelets: list[np.ndarray]  # and of platelets of all of them

    @classmethod
    def of(cls, materials: Materials, most: int) -> Stock:
        """Return the stock of a bank, from ``most`` images.

        ``InputError`` if the bank has no whole red cell.
        """
        whole = np.flatnonzero(materials.whole & (materials.contact <= tuned.TOUCHED))
        red, platelets = (np.intersect1d(whole, materials.others(k)) for k in ("rbc", "platelet"))
        if not len(red):
            raise InputError(
                "mode field: the bank has no whole red cell that may be composed; build it from "
                "more images"
            )
        images = materials.images
        if not len(images):
            light = np.array([smears("pbc")[0].light])
            return cls(np.array([-1]), light, [red], [platelets])
        # ids are hashes: their order is a draw of its own
        lenders = np.unique(materials.image[red])
        lenders = lenders[np.linspace(0, len(lenders) - 1, min(most, len(lenders))).astype(int)]
        looks = np.column_stack(
            [
                np.log(np.maximum(np.nan_to_num(images.red[lenders]), 1e-3)) / tuned.RED,
                images.light[lenders] / tuned.LIGHT,
            ]
        )
        unlike = np.abs(looks[:, None] - looks[None]).mean(axis=2)
        near = np.argsort(unlike, axis=1, kind="stable")[:, : tuned.LENDERS]
        own = [red[materials.image[red] == image] for image in lenders]
        theirs = platelets[np.isin(materials.image[platelets], lenders)]
        return cls(
            lenders,
            images.light[lenders].astype(np.float64),
            [np.concatenate([own[k] for k in row]) for row in near],
            [theirs] * len(lenders),
        )

    def suited(
        self, materials: Materials, cells: np.ndarray, home: int, generator: np.random.Generator
    ) -> np.ndarray:
        """Return the factor on each cell's density that suits it to a home, (n, 3).

        Red cells take on the density of the home's; others half of the mean difference, since their
        hue is their own.
        """
        own = np.exp(tuned.CELL_DENSITY * generator.normal(size=(len(cells), 1)))
        if self.lenders[home] < 0:
            return np.repeat(own, 3, axis=1)
        stain = np.log(np.maximum(materials.images.red, 1e-3))
        ratio = np.nan_to_num(stain[self.lenders[home]] - stain[materials.image[cells]])
        red = (materials.kind[cells] == "rbc")[:, None]
        ratio = np.where(red, ratio, ratio.mean(axis=1, keepdims=True) / 2)
        return own * np.exp(np.clip(ratio, -tuned.FIELD_DENSITY, tuned.FIELD_DENSITY))
