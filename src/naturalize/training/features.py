"""A frozen backbone's features, computed once for each image, and a head that learns on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from naturalize.base.console import say, track
from naturalize.base.engine import prefetched
from naturalize.models.config import Network
from naturalize.models.identity import weights_hash
from naturalize.models.preprocess import normalise
from naturalize.training.data import CellImages
from naturalize.training.dataset import Draw, Rows, Samples, as_is
from naturalize.training.pixels import RecordStore

#: Images a pass. A constant: kernels may round otherwise for another number, and a run that was
#: killed must find the same features.
_BLOCK = 32


class Head(nn.Module):
    """A network's own classifier, as a network of its own: features to logits.

    What it learns, that network knows.
    """

    def __init__(self, network: Any, dropout: float) -> None:
        super().__init__()
        self.classifier = network.get_classifier()
        # a classifier of several layers has its own
        single = isinstance(self.classifier, nn.Linear)
        self.dropout = nn.Dropout(dropout if single else 0.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (N, C)."""
        return self.classifier(self.dropout(features))

    def get_classifier(self) -> nn.Module:
        """Return the network's classifier."""
        return self.classifier


def learning_part(network: Network, mode: str, dropout: float | None) -> Network:
    """Return what a run in ``mode`` trains: the network, or its classifier alone."""
    if mode != "transfer":
        return network
    return replace(network, module=Head(network.module, dropout or 0.0))


def classifier_input(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Return what a network's classifier is given for the input ``x``, (N, …).

    It is seen by a hook, so that it holds for every network, however it pools and flattens.
    """
    seen: list[torch.Tensor] = []
    hook = module.get_classifier().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        module(x)
    finally:
        hook.remove()
    return seen[0]


class Features:
    """Batches of features instead of images.

    Every training image has ``views`` augmented views (1 without augmentation), and epoch e trains
    on view e modulo ``views`` of each; validation images are taken as they are.
    """

    def __init__(self, cells: CellImages, *, views: int) -> None:
        self.cells, self.views = cells, views
        self.stores: dict[str, RecordStore] = {}

    def compute(self, network: Network, device: str, pieces: int) -> None:
        """Compute what is not there yet, with a progress bar."""
        cells = self.cells
        module = network.module.to(device).eval()
        name = weights_hash(module)
        augmented = Samples(cells.train, cells.settings.augment, seed=cells.settings.seed)
        n = len(cells.train)
        draws = [Draw(view, row, row) for view in range(self.views) for row in range(n)]
        for part, samples, asked in (
            ("train", augmented, draws),
            ("val", Samples(cells.val, None), list(range(len(cells.val)))),
        ):
            path = cells.work / f"features-{part}-{name}"
            self.stores[part] = _filled(path, network, samples, asked, device, pieces)
        module.to("cpu")  # the learner moves the head only

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of training batches, all of the same size."""
        rows = self.cells.train
        return DataLoader(
            FeatureSamples(rows, self.stores["train"], self.views),
            batch_size=self.cells.settings.batch_size,
            sampler=self.cells.sampler(),
            collate_fn=as_is,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the loader of validation batches, in order."""
        rows = self.cells.val
        return DataLoader(
            FeatureSamples(rows, self.stores["val"], 1), batch_size=256, collate_fn=as_is
        )


class FeatureSamples(Dataset[dict[str, torch.Tensor]]):
    """Batches: ``features`` float32 (N, …), ``target`` int64 (N,), ``row`` int64 (N,)."""

    def __init__(self, rows: Rows, store: RecordStore, views: int) -> None:
        self.rows, self.store, self.views = rows, store, views

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, draws: Sequence[Draw | int]) -> dict[str, torch.Tensor]:
        """Return a batch."""
        rows = np.array([d.row if isinstance(d, Draw) else d for d in draws], np.int64)
        views = np.array([d.epoch % self.views if isinstance(d, Draw) else 0 for d in draws])
        records = [self.store.get(int(r)) for r in views * len(self.rows) + rows]
        return {
            "features": torch.from_numpy(np.stack(records)),  # type: ignore[arg-type]
            "target": torch.from_numpy(self.rows.targets[rows]),
            "row": torch.from_numpy(rows),
        }


def _filled(
    path: Path,
    network: Network,
    samples: Samples,
    asked: Sequence[Draw | int],
    device: str,
    pieces: int,
) -> RecordStore:
    """Return the store of the features of all that is asked for, block by block."""
    size = -(-_BLOCK // pieces)

    def of(batch: dict[str, torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            x = normalise(batch["pixels"].to(device), network.config.mean, network.config.std)
            found = [classifier_input(network.module, piece).float() for piece in x.split(size)]
        return torch.cat(found).cpu().numpy()

    def read(block: int) -> tuple[int, dict[str, torch.Tensor]]:
        return block, samples.__getitems__(asked[block * _BLOCK : (block + 1) * _BLOCK])

    shape = of(read(0)[1]).shape[1:]
    store = RecordStore(path, len(asked), shape, np.float32)
    size_gb = 4 * len(asked) * int(np.prod(shape)) / 1e9
    if size_gb > 1:
        say(f"features of {len(asked)} images take {size_gb:.1f} GB on disk while the run lasts")
    blocks = sorted({row // _BLOCK for row in store.missing().tolist()})
    ahead = prefetched(read, blocks, window=4)
    for block, batch in track(ahead, f"features of {path.name.split('-')[1]}", len(blocks)):
        for i, record in enumerate(of(batch)):
            store.put(block * _BLOCK + i, record)
    return store
