"""Composites inside anyone's training loop: a plan is a table, rendering is a function."""

from collections.abc import Iterator

import numpy as np

import naturalize as nz
from naturalize.compose.paint.crops import CropStore

nz.write_phantom("phantom", per_class={"LY": 5, "MO": 5})
catalog = nz.Catalog.build("phantom", scheme="pbc11")
rows = catalog.usable().select(["image_id", "path"]).to_pylist()
items = [(row["image_id"], row["path"]) for row in rows]
nz.segment_images(items, catalog.root, nz.segmenter(), "cells")
bank = nz.CellBank.build("cells", catalog)
plan = nz.plan(bank, mode="paper", per_class=12, classes=["LY", "MO"], seed=1)
crops = CropStore.build(plan, bank, "crops")  # decoded once, mapped from disk


def batches(size: int, seed: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield uint8 (N, H, W, 3) and labels, in an order drawn by ``seed``."""
    order = np.random.default_rng(seed).permutation(len(plan))
    for start in range(0, len(order), size):
        recipes = [plan.recipe(int(i)) for i in order[start : start + size]]
        yield np.stack([nz.render(r, crops) for r in recipes]), [r.label for r in recipes]


for images, labels in batches(8, seed=0):
    print(images.shape, labels)
