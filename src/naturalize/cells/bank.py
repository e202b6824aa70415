"""The cell bank: which cells may be composed, and their pixels."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.artifacts import (
    fingerprint,
    read_json,
    read_manifest,
    read_table,
    write_json,
    write_table,
    writing,
)
from naturalize.base.errors import ArtifactError, ImageReadError, InputError, unknown
from naturalize.base.images import content_hash, decode_image, read_bytes, write_image
from naturalize.cells.accept import judge
from naturalize.cells.runlength import decode
from naturalize.cells.tables import BACKGROUNDS, BANK, CELLS, OUTCOMES
from naturalize.dataset.assign import PARTS
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split

#: Decoded source images kept in memory by a bank (about 0.4 MB each for PBC).
_IMAGES_KEPT = 64


@dataclass(frozen=True, eq=False)
class Cutout:
    """A cell: ``rgb`` uint8 (h, w, 3), its box as it is; ``mask`` bool (h, w), the cell."""

    rgb: np.ndarray
    mask: np.ndarray


class CellBank:
    """Cells that may be composed, with the reason for each that may not.

    Masks point into source images; no pixel is copied. A bank is cheap to pickle: workers get
    its tables and read the images themselves.

    Attributes
    ----------
    table
        One row a cell: columns as in ``docs/formats.md``.
    backgrounds
        One row an image: its bare slide's colour and how much of it is seen.
    root
        Folder of the source images.
    labels
        The classes, in the order of the catalog.
    part
        Part of the split that it was cut from; ``None`` for all images.
    """

    def __init__(
        self,
        table: pa.Table,
        backgrounds: pa.Table,
        *,
        root: Path,
        labels: tuple[str, ...],
        part: str | None = None,
        inputs: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> None:
        self.table, self.backgrounds = table, backgrounds
        self.root, self.labels, self.part = Path(root), labels, part
        self.inputs = dict(inputs or {})
        self.check = check
        self._images: OrderedDict[str, np.ndarray] = OrderedDict()

    @classmethod
    def build(
        cls,
        cells: str | Path,
        catalog: Catalog,
        split: Split | None = None,
        *,
        part: str | None = "train",
    ) -> CellBank:
        """Choose the cells that may be composed.

        Parameters
        ----------
        cells
            A ``cells`` artifact.
        catalog
            The images' labels, and where they are.
        split
            With a split, only images of ``part`` give cells and backgrounds.
        part
            ``"train"``, ``"val"``, ``"test"``, or ``None`` for all; without a split it is ``None``.

        Raises
        ------
        ArtifactError
            If ``cells`` is no readable ``cells`` artifact.
        InputError
            If no image of the part has cells.
        """
        manifest = read_manifest(cells, "cells")
        part = part if split is not None else None
        if part is not None and part not in PARTS:
            raise unknown("part", part, list(PARTS))
        labels = _labels(catalog, split, part)
        inputs = {"cells": manifest.fingerprint, "catalog": catalog.fingerprint}
        if split is not None:
            inputs["split"] = split.fingerprint
        outcomes = _of_images(read_table(Path(cells) / "outcomes.parquet", OUTCOMES), labels)
        found = _of_images(read_table(Path(cells) / "cells.parquet", CELLS), labels)
        if not found.num_rows:
            where = f"part {part!r}" if part else "the catalog"
            raise InputError(
                f"{cells}: none of its cells is in an image of {where}; "
                "segment the images that the catalog lists"
            )
        return cls(
            judge(found, catalog, labels),
            _backgrounds(outcomes),
            root=catalog.root,
            labels=catalog.labels,
            part=part,
            inputs=inputs,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the content."""
        return {"part": self.part}

    @property
    def fingerprint(self) -> str:
        """16 hex digits naming the content; equal to the saved artifact's."""
        return fingerprint("bank", self.settings, self.inputs)

    def counts(self) -> dict[str, Any]:
        """Return accepted cells by kind, accepted targets by label, and rejections by reason."""
        columns = (self.table[name].to_pylist() for name in ("kind", "label", "accepted", "reason"))
        kinds, labels, reasons = Counter[str](), Counter[str](), Counter[str]()
        for kind, label, accepted, reason in zip(*columns, strict=True):
            if accepted:
                kinds[kind] += 1
                labels[label or ""] += label is not None
            else:
                reasons[f"{kind}: {reason}"] += 1
        return {
            "accepted": dict(sorted(kinds.items())),
            "targets": {label: labels[label] for label in self.labels},
            "rejected": dict(sorted(reasons.items())),
        }

    def save(self, path: str | Path, inputs: Mapping[str, str] | None = None) -> None:
        """Write the bank artifact to ``path``, with a sheet of thumbnails.

        ``inputs``: name → fingerprint of what it was made from; those of ``build`` by default.
        """
        from naturalize.cells.sheet import bank_sheet

        self.inputs = dict(inputs) if inputs is not None else self.inputs
        with writing(path, "bank", settings=self.settings, inputs=self.inputs) as folder:
            write_table(folder / "cells.parquet", self.table)
            write_table(folder / "backgrounds.parquet", self.backgrounds)
            about = {
                "root": str(self.root.resolve()),
                "part": self.part,
                "labels": list(self.labels),
                "counts": self.counts(),
            }
            write_json(folder / "bank.json", about)
            write_image(folder / "sheet.jpg", bank_sheet(self), quality=90)

    @classmethod
    def load(
        cls, path: str | Path, *, root: str | Path | None = None, check: bool = False
    ) -> CellBank:
        """Open a bank artifact.

        Parameters
        ----------
        path
            Its folder.
        root
            Where its images are now, if they have moved.
        check
            Check the content of each source image when it is read.
        """
        path = Path(path)
        manifest = read_manifest(path, "bank")
        about = read_json(path / "bank.json")
        try:
            saved, labels, part = Path(about["root"]), tuple(about["labels"]), about["part"]
        except KeyError as error:
            raise ArtifactError(f"{path / 'bank.json'}: lacks {error}") from error
        return cls(
            read_table(path / "cells.parquet", BANK),
            read_table(path / "backgrounds.parquet", BACKGROUNDS),
            root=Path(root).resolve() if root else path.resolve() / saved,
            labels=labels,
            part=part,
            inputs=manifest.inputs,
            check=check,
        )

    def cells(
        self,
        kind: str | None = None,
        label: str | None = None,
        *,
        whole: bool | None = None,
        sharp: bool | None = None,
        target: bool | None = None,
        accepted: bool | None = True,
    ) -> pa.Table:
        """Return the rows of the cells that fit; ``None`` means either.

        Parameters
        ----------
        kind, label
            ``"wbc"``, ``"rbc"`` or ``"platelet"``; a class.
        whole
            Not cut by the image's edge.
        sharp
            At least half as sharp as the kind's median.
        target
            The cell that its image's label speaks of.
        accepted
            May be composed.
        """
        keep = pa.array(np.ones(self.table.num_rows, bool))
        for name, wanted in (("kind", kind), ("label", label)):
            if wanted is not None:
                keep = pc.and_(keep, pc.fill_null(pc.equal(self.table[name], wanted), False))
        flags = {
            "touches_border": None if whole is None else not whole,
            "target": target,
            "accepted": accepted,
        }
        for name, asked in flags.items():
            if asked is not None:
                keep = pc.and_(keep, pc.equal(self.table[name], asked))
        if sharp is not None:
            keep = pc.and_(keep, pa.array(self._sharp == sharp))
        return self.table.filter(keep)

    def row(self, cell_id: str) -> dict[str, Any]:
        """Return a cell's row as a dictionary; ``InputError`` if the bank has no such cell."""
        return self.table.slice(self._index_of(cell_id), 1).to_pylist()[0]

    def cutout(self, cell_id: str) -> Cutout:
        """Return a cell's pixels; its source image is decoded at most once in a while."""
        i = self._index_of(cell_id)
        x0, y0, x1, y1 = self._boxes[i]
        image = self.image(self._image_ids[i])
        if y1 > image.shape[0] or x1 > image.shape[1]:
            raise ArtifactError(
                f"{self.root / self._paths[self._image_ids[i]]}: {image.shape[1]} × "
                f"{image.shape[0]} pixels, too small for cell {cell_id}; the image has changed "
                "since it was segmented: segment again"
            )
        offsets, values = self._masks
        runs = values[offsets[i] : offsets[i + 1]]
        return Cutout(image[y0:y1, x0:x1].copy(), decode(runs, (int(y1 - y0), int(x1 - x0))))

    def image(self, image_id: str, *, check: bool | None = None) -> np.ndarray:
        """Return a source image, RGB uint8 (H, W, 3), not to be written to.

        Raises
        ------
        ArtifactError
            If the file is gone, or (with ``check``, by default the bank's) its content is another
            than when it was segmented.
        """
        check = self.check if check is None else check
        if image_id in self._images and not check:
            self._images.move_to_end(image_id)
            return self._images[image_id]
        if image_id not in self._paths:
            raise InputError(f"no image {image_id!r} in the bank of {self.root}")
        path = self.root / self._paths[image_id]
        try:
            data = read_bytes(path)
            if check and (now := content_hash(data)) != image_id:
                raise ArtifactError(
                    f"{path}: has changed since it was segmented (content {now}, was {image_id}); "
                    "bring the file back, or segment again and rebuild the bank"
                )
            image, _ = decode_image(data, name=path)
        except ImageReadError as error:
            raise ArtifactError(
                f"{error}; the bank points into it: bring the file back, or say where the images "
                "are now with --root"
            ) from error
        image.setflags(write=False)
        self._images[image_id] = image
        if len(self._images) > _IMAGES_KEPT:
            self._images.popitem(last=False)
        return image

    def __getstate__(self) -> dict[str, Any]:
        lazy = ("_index", "_boxes", "_image_ids", "_masks", "_paths", "_sharp")
        kept = {key: value for key, value in self.__dict__.items() if key not in lazy}
        return kept | {"_images": OrderedDict()}

    def _index_of(self, cell_id: str) -> int:
        if cell_id not in self._index:
            raise InputError(f"no cell {cell_id!r} in the bank of {self.root}")
        return self._index[cell_id]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {cell_id: i for i, cell_id in enumerate(self.table["cell_id"].to_pylist())}

    @cached_property
    def _boxes(self) -> np.ndarray:
        return np.stack([self.table[name].to_numpy() for name in ("x0", "y0", "x1", "y1")], axis=1)

    @cached_property
    def _image_ids(self) -> list[str]:
        return self.table["image_id"].to_pylist()

    @cached_property
    def _masks(self) -> tuple[np.ndarray, np.ndarray]:
        column = self.table["mask"].combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        return column.offsets.to_numpy(), column.values.to_numpy()

    @cached_property
    def _paths(self) -> dict[str, str]:
        ids = self.backgrounds["image_id"].to_pylist()
        return dict(zip(ids, self.backgrounds["path"].to_pylist(), strict=True))

    @cached_property
    def _sharp(self) -> np.ndarray:
        kinds, focus = np.array(self.table["kind"].to_pylist()), self.table["focus"].to_numpy()
        sharp = np.zeros(len(kinds), bool)
        for kind in set(kinds.tolist()):
            of_kind = kinds == kind
            sharp[of_kind] = focus[of_kind] >= 0.5 * np.median(focus[of_kind])
        return sharp


def _labels(catalog: Catalog, split: Split | None, part: str | None) -> dict[str, str]:
    """Return image id → label of the images that may give cells."""
    if split is None:
        usable = catalog.usable().select(["image_id", "label", "flags"]).to_pylist()
        return {
            row["image_id"]: row["label"] for row in usable if "label_conflict" not in row["flags"]
        }
    rows = split.table.select(["image_id", "label", "part"]).to_pylist()
    return {row["image_id"]: row["label"] for row in rows if part in (None, row["part"])}


def _of_images(table: pa.Table, labels: Mapping[str, str]) -> pa.Table:
    return table.filter(pc.is_in(table["image_id"], pa.array(list(labels), pa.string())))


def _backgrounds(outcomes: pa.Table) -> pa.Table:
    readable = outcomes.filter(pc.is_valid(outcomes["background_r"]))
    ids = readable["image_id"].to_pylist()
    first = sorted({image_id: i for i, image_id in reversed(list(enumerate(ids)))}.values())
    readable = readable.take(pa.array(first, pa.int64()))
    columns = [
        "image_id", "image_id", "path", "background_r", "background_g", "background_b",
        "background_share",
    ]  # fmt: skip
    arrays = [readable[name] for name in columns]
    return pa.Table.from_arrays(arrays, names=BACKGROUNDS.names).cast(BACKGROUNDS)
