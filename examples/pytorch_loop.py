"""Train a PyTorch network on real images, some of which become fresh composites in every epoch.

Needs: torch.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader

import naturalize as nz
from naturalize.base.images import read_image
from naturalize.compose import Naturalize
from naturalize.compose.deliver.dataset import real_images, resized

SIZE, CLASSES = 64, ["EO", "LY"]

nz.write_phantom("phantom", per_class={"EO": 10, "LY": 10})
catalog = nz.Catalog.build("phantom", scheme="pbc11")
split = nz.Split.build(catalog, fractions=(0.6, 0.2, 0.2))
rows = catalog.usable().select(["image_id", "path"]).to_pylist()
items = [(row["image_id"], row["path"]) for row in rows]
nz.segment_images(items, catalog.root, nz.segmenter(), "cells")
bank = nz.CellBank.build("cells", catalog, split)  # cells of training images only


class Images:
    """Your own data set: a picture and the number of its class."""

    def __init__(self, pairs: list) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        path, label = self.pairs[i]
        image = resized(read_image(path), (SIZE, SIZE))
        return torch.from_numpy(np.array(image.transpose(2, 0, 1))), CLASSES.index(label)


naturalize = Naturalize(
    bank, probability=0.5, classes=CLASSES, size=SIZE, mode="paper", per_class=60, seed=1
)
train = naturalize.over(Images(real_images(catalog, split)))
loader = DataLoader(train, batch_size=7, shuffle=True)  # num_workers=8 sees the same pictures
print(naturalize)

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 16, 5, stride=2),
    torch.nn.ReLU(),
    torch.nn.Conv2d(16, 32, 3, stride=2),
    torch.nn.ReLU(),
    torch.nn.AdaptiveMaxPool2d(1),
    torch.nn.Flatten(),
    torch.nn.Linear(32, len(CLASSES)),
)
optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
for epoch in range(8):
    naturalize.set_epoch(epoch)  # other composites in every epoch
    total = 0.0
    for images, labels in loader:
        loss = torch.nn.functional.cross_entropy(model(images / 127.5 - 1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(labels)
    print(f"epoch {epoch}: loss {total / len(train):.3f}")
