"""From images to a bank of cells and a composite, in ten lines (those of the README)."""

import naturalize as nz

nz.write_phantom("phantom", per_class=6)  # or your own folder of images
catalog = nz.Catalog.build("phantom", scheme="pbc11")
split = nz.Split.build(catalog, fractions=(0.6, 0.2, 0.2))
rows = catalog.usable().select(["image_id", "path"]).to_pylist()
items = [(row["image_id"], row["path"]) for row in rows]
nz.segment_images(items, catalog.root, nz.segmenter(), "cells")
bank = nz.CellBank.build("cells", catalog, split)  # cells of training images only
plan = nz.plan(bank, mode="paper", add=4, seed=1)
image = nz.render(plan.recipe(0), bank)  # RGB uint8 (363, 360, 3)
print(plan.recipe(0).label, image.shape, sorted(plan.parents())[:3])
