"""Train a Keras network on real images and composites that are rendered when they are needed.

Needs: keras (any backend).
"""

import keras
import numpy as np

import naturalize as nz
from naturalize.compose import CompositeDataset, CropStore
from naturalize.compose.deliver.dataset import real_images

SIZE, CLASSES = 64, ["EO", "LY"]

nz.write_phantom("phantom", per_class={"EO": 6, "LY": 6})
catalog = nz.Catalog.build("phantom", scheme="pbc11")
rows = catalog.usable().select(["image_id", "path"]).to_pylist()
items = [(row["image_id"], row["path"]) for row in rows]
nz.segment_images(items, catalog.root, nz.segmenter(), "cells")
bank = nz.CellBank.build("cells", catalog)
plan = nz.plan(bank, mode="paper", add=24, classes=CLASSES, seed=1)
store = CropStore.build(plan, bank, "crops", size=SIZE)  # cells and scenes at that size


class Composites(keras.utils.PyDataset):
    """Batches of a data set, in another order each epoch."""

    def __init__(self, data: CompositeDataset, batch: int, **workers: int) -> None:
        super().__init__(**workers)
        self.data, self.batch, self.epoch = data, batch, 0
        self.on_epoch_end()

    def __len__(self) -> int:
        return int(np.ceil(len(self.data) / self.batch))

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        some = self.order[i * self.batch : (i + 1) * self.batch]
        images, labels = zip(*(self.data[int(row)] for row in some), strict=True)
        return np.stack(images), np.array(labels)

    def on_epoch_end(self) -> None:
        self.order = np.random.default_rng(self.epoch).permutation(len(self.data))
        self.epoch += 1


data = CompositeDataset(plan, store, size=SIZE, classes=CLASSES, real=real_images(catalog))
print(f"{len(data)} pictures, {int(data.is_composite.sum())} of them composed")

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((SIZE, SIZE, 3)),
        keras.layers.Rescaling(1 / 127.5, offset=-1),
        keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
        keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.Dense(len(CLASSES)),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.003),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
history = model.fit(Composites(data, 12), epochs=8, verbose=0)
print("loss", [round(float(loss), 3) for loss in history.history["loss"]])
