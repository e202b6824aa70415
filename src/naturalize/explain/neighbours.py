"""The training cells that a network finds most like an explained one, in its own features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base import artifacts
from naturalize.base.errors import ImageReadError
from naturalize.base.images import content_hash, read_image, write_image
from naturalize.base.rng import rng
from naturalize.base.shards import resumable_rows
from naturalize.explain.picks import Pick

#: Training images of a class that are looked through at most (1,100 of the eleven classes take a
#: small network half a minute on one core), and how many of them are named.
PER_CLASS, NEAREST = 100, 3

#: Images whose features are kept at a time.
_PIECE = 32

_SHARD = pa.schema([("features", pa.list_(pa.float32()))])


@dataclass(frozen=True)
class Training:
    """Training images, with labels, and the folder that their paths start from."""

    root: Path
    items: tuple[Pick, ...]

    @staticmethod
    def drawn(root: Path, items: Iterable[Any], seed: int = 0) -> Training:
        """Return at most `PER_CLASS` of each class, drawn at random by ``seed``.

        ``items`` have ``image_id``, ``path`` and ``label``.
        """
        by_class = defaultdict(list)
        for item in sorted(items, key=lambda item: item.path):
            by_class[item.label].append(Pick(item.image_id, item.path, item.label))
        kept: list[Pick] = []
        for label, its in sorted(by_class.items()):
            order = rng(seed, "neighbours", label).permutation(len(its))[:PER_CLASS]
            kept += [its[i] for i in sorted(order)]
        return Training(Path(root), tuple(kept))

    @property
    def digest(self) -> str:
        """What names the images."""
        return content_hash("\n".join(map(repr, self.items)).encode())

    def nearest(
        self, model: Any, ids: Sequence[str], images: Sequence[np.ndarray], work: Path, key: str
    ) -> list[list[tuple[Pick, float]]]:
        """Return for each image its nearest training images, with the cosine of their features.

        ``model`` has ``features(images) -> (N, D)``; ``ids`` are the images' own, so that none is
        its own neighbour. ``work`` and ``key``: where the features stay while the work lasts, and
        what they depend on. Unreadable training images are passed over.
        """

        def rows(piece: Sequence[Pick]) -> Iterator[dict[str, Any]]:
            for item in piece:
                try:
                    (found,) = model.features([read_image(self.root / item.path)])
                except ImageReadError:
                    found = None
                yield {"features": found}

        what = "features of training images"
        table = resumable_rows(
            work / "features", key + self.digest, self.items, rows, _SHARD, piece=_PIECE, what=what
        )
        found = [row["features"] for row in table.to_pylist()]
        there = [item for item, row in zip(self.items, found, strict=True) if row is not None]
        if not there:
            return [[] for _ in images]
        known = unit(np.array([row for row in found if row is not None]))
        alike = unit(model.features(images)) @ known.T
        return [
            [
                (there[i], round(float(cosines[i]), 4))
                for i in np.argsort(-cosines, kind="stable")
                if there[i].image_id != image_id
            ][:NEAREST]
            for image_id, cosines in zip(ids, alike, strict=True)
        ]


def unit(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) with rows of length one, so that products are cosines."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def write_neighbours(
    folder: Path,
    shown: Mapping[Pick, tuple[np.ndarray, Any]],
    training: Training,
    work: Path,
    key: str,
) -> None:
    """Add ``neighbours`` to the entries of ``folder``, and the pictures of them.

    ``shown``: the image that was explained and the network that answered, whose features are used.
    """
    entries = artifacts.read_json(folder / "explanations.json")
    nearest: dict[str, list[tuple[Pick, float]]] = {}
    for network in {id(model): model for _, model in shown.values()}.values():
        its = {item.image_id: image for item, (image, model) in shown.items() if model is network}
        named = key + network.weights_hash
        found = training.nearest(network, list(its), list(its.values()), work, named)
        nearest |= zip(its, found, strict=True)
    for pick in {pick.image_id: pick for its in nearest.values() for pick, _ in its}.values():
        picture = read_image(training.root / pick.path)
        write_image(folder / "neighbours" / f"{pick.image_id}.jpg", picture, quality=92)
    for entry in entries:
        entry["neighbours"] = [
            {
                "image_id": pick.image_id,
                "path": pick.path,
                "label": pick.label,
                "cosine": cosine,
                "image": f"neighbours/{pick.image_id}.jpg",
            }
            for pick, cosine in nearest[entry["image_id"]]
        ]
    artifacts.write_json(folder / "explanations.json", entries)
