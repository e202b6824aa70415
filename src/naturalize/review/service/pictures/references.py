"""Labelled cells to compare with: the nearest to a cell in the network's features, an atlas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.artifacts import read_table, write_table
from naturalize.base.console import track, warn
from naturalize.base.errors import ImageReadError, InputError, SettingsError
from naturalize.base.images import read_image
from naturalize.cells.bank import CellBank
from naturalize.dataset.schemes import meaning
from naturalize.explain.neighbours import Training, unit
from naturalize.explain.picks import Pick
from naturalize.inputs.kind import named
from naturalize.inputs.labelled import labelled_data
from naturalize.models.onnx_predictor import OnnxPredictor
from naturalize.models.predictor import NetworkPredictor, Predictor

#: File of a review that has them, and its columns: where each cell is, and its features.
FILE = "references.parquet"
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("image_id", pa.string()),
        ("label", pa.string()),
        ("features", pa.list_(pa.float32())),
    ]
)

#: Probability below which nothing is told apart.
_FLOOR = 1e-6


@dataclass(frozen=True)
class Reference:
    """A labelled cell: its number, from 1, class, file, and the id of the file's bytes."""

    id: int
    label: str
    path: Path
    image_id: str


def drawn(source: Path) -> Training:
    """Return at most a hundred images of each class of a catalog, a bank or labelled images.

    ``InputError`` if it holds none.
    """
    there = named(source, "a catalog, a bank, or labelled images")
    if there.kind == "bank":
        bank = CellBank.load(source)
        rows = bank.table.filter(pc.field("target") & pc.field("accepted"))
        picks = {
            path: Pick(image_id, path, label)
            for image_id, path, label in zip(
                *(rows[name].to_pylist() for name in ("image_id", "path", "label")), strict=True
            )
            if label is not None
        }
        if not picks:
            raise InputError(f"{source}: no cell of it has a class; name labelled images")
        return Training.drawn(Path(bank.root), picks.values())
    data = labelled_data(source, part="all")
    return Training.drawn(data.root, data.items)


def open_network(model: Path) -> NetworkPredictor:
    """Return what gives features: with PyTorch the network, else its graph, which has logits."""
    return Predictor.load(model, engine="torch" if find_spec("torch") is not None else "auto")


def features_of(network: NetworkPredictor, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return what images are compared by, float32 (N, D): features of a torch network, or logits.

    Of logits, and of an ensemble's log-probabilities, the mean over classes is taken away: it says
    nothing of the class.
    """
    if not isinstance(network, OnnxPredictor):
        return network.features(images)  # type: ignore[attr-defined]
    if network.members:
        logits = np.log(np.maximum(network.probabilities(images), _FLOOR))
    else:
        logits = network.logits(images)
    return logits - logits.mean(axis=1, keepdims=True)


def class_of(label: str, classes: Sequence[str]) -> str:
    """Return the class of a review that a reference's label stands for; itself if none does.

    Examples
    --------
    >>> class_of("Platelets", ["SNE", "PLT"]), class_of("blast", ["SNE", "PLT"])
    ('PLT', 'blast')
    """
    meant = [name for name in classes if meaning(name) == meaning(label) != frozenset()]
    return label if label in classes or len(meant) != 1 else meant[0]


def write(folder: Path, training: Training, model: Path, classes: Sequence[str]) -> None:
    """Write the features of labelled images into a review of ``classes``; unreadable ones are said.

    Labels become those of the review, where they are other names of its classes.
    """
    network, rows, bad = open_network(model), [], []
    for item in track(training.items, "features of reference cells"):
        path = (training.root / item.path).absolute()
        try:
            (found,) = features_of(network, [read_image(path)])
        except ImageReadError as error:
            bad.append(str(error))
            continue
        label = class_of(item.label or "", classes)
        row = {"path": str(path), "image_id": item.image_id, "label": label, "features": found}
        rows.append(row)
    if bad:
        warn(f"{len(bad):,} reference cells cannot be read: {bad[0]}")
    write_table(folder / FILE, pa.Table.from_pylist(rows, schema=_SCHEMA))


class References:
    """The reference cells in a review's folder.

    ``model``: folder of the model that gave their features.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        self._file, self._model = folder / FILE, model

    @cached_property
    def cells(self) -> list[Reference]:
        """All of them, by number."""
        rows = self._table.select(["label", "path", "image_id"]).to_pylist()
        return [
            Reference(number, row["label"], Path(row["path"]), row["image_id"])
            for number, row in enumerate(rows, start=1)
        ]

    def nearest(
        self, image: np.ndarray, image_id: str, k: int = 6
    ) -> list[tuple[Reference, float]]:
        """Return the ``k`` cells whose features have the largest cosine with an image's.

        Asked by one thread at a time. RGB uint8 (H, W, 3); a cell of a file with the same
        ``image_id`` is left out. ``SettingsError`` if the features were another engine's, which is
        not installed here.
        """
        known = self._features
        (here,) = unit(features_of(self._network, [image]))
        if here.shape != known.shape[1:]:
            raise SettingsError(
                "the reference cells were compared with PyTorch, which is not installed here (or "
                "the other way round); make the review again to compare"
            )
        likeness = known @ here
        order = [i for i in np.argsort(-likeness, kind="stable").tolist()
                 if self.cells[i].image_id != image_id]  # fmt: skip
        return [(self.cells[i], float(likeness[i])) for i in order[:k]]

    def atlas(self, label: str, k: int) -> list[Reference]:
        """Return ``k`` cells of a class: those nearest to the mean of its features."""
        rows = np.array([i for i, cell in enumerate(self.cells) if cell.label == label], int)
        if not len(rows):
            return []
        features = self._features[rows]
        near = np.argsort(-(features @ features.mean(axis=0)), kind="stable")[:k]
        return [self.cells[i] for i in rows[near]]

    @cached_property
    def _table(self) -> pa.Table:
        return read_table(self._file, _SCHEMA)

    @cached_property
    def _features(self) -> np.ndarray:
        return unit(np.array(self._table["features"].to_pylist(), np.float32))

    @cached_property
    def _network(self) -> NetworkPredictor:
        return open_network(self._model)
