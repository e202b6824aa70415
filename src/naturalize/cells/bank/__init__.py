"""The cell bank: which cells may be composed, their pixels, and its artifact."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import (
    fingerprint,
    read_json,
    read_manifest,
    read_table,
    write_json,
    write_table,
    writing,
)
from naturalize.base.console import track
from naturalize.base.display import TableView, html_table, rows_of
from naturalize.base.errors import ArtifactError, InputError, unknown
from naturalize.base.images import write_image
from naturalize.cells.bank.files import (
    IMAGES,
    MARGIN,
    Cutout,
    Pictures,
    copy_images,
    crop_path,
    images_of,
    moved_into_crop,
)
from naturalize.cells.tables import (
    BACKGROUNDS,
    BANK,
    CellMasks,
    Where,
    are_sharp,
    counted,
    matching,
    overview,
)
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split

__all__ = ["CellBank", "Cutout"]


class CellBank(TableView):
    """Cells that may be composed, with the reason for each that may not.

    Masks point into source images; no pixel is copied. A bank is cheap to pickle: workers get
    its tables and read the images themselves.

    ``table`` has a row a cell, ``backgrounds`` one an image, with the colour and the share of its
    bare slide; columns as in ``docs/formats.md``. ``labels`` are the classes, in the order of the
    catalog; ``part`` is that of the split that it was cut from, ``None`` for all images.
    ``pictures`` reads the source images. ``holds`` says what a saved bank has in its own folder:
    ``None`` (it points elsewhere), ``"images"`` (whole source images), ``"crops"`` (a picture a
    cell; boxes count in these, and ``image_id`` is still the source image, so that lineage holds),
    or ``"laboratory"`` (another laboratory's images, and a picture in their look of each cell that
    may be set into them).
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
        holds: str | None = None,
        hashes: Mapping[str, str] | None = None,
    ) -> None:
        self.table, self.backgrounds = table, backgrounds
        self.labels, self.part, self.holds = labels, part, holds
        self.inputs = dict(inputs or {})
        self.pictures = Pictures(Path(root), check=check, hashes=hashes or {})

    @classmethod
    def build(
        cls,
        cells: str | Path,
        catalog: Catalog,
        split: Split | None = None,
        *,
        part: str | None = "train",
    ) -> CellBank:
        """Choose the cells of a ``cells`` artifact (segmented or imported) that may be composed.

        With a split, only images of ``part`` (``"train"``, ``"val"``, ``"test"`` or ``None``, all)
        give cells and backgrounds. ``ArtifactError`` if ``cells`` is none that can be read,
        ``InputError`` if no image of the part has cells.
        """
        from naturalize.cells.choose import choose

        return cls(**choose(Path(cells), catalog, split, part))

    @property
    def root(self) -> Path:
        """Folder of the source images."""
        return self.pictures.root

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
        return counted(self.table, self.labels)

    def save(
        self,
        path: str | Path,
        inputs: Mapping[str, str] | None = None,
        *,
        self_contained: bool | str = False,
    ) -> None:
        """Write the bank artifact to ``path``, with sheets of accepted and of rejected cells.

        ``self_contained`` is for a folder that is sent to somebody else. ``True`` or ``"images"``:
        the source images go with it, byte for byte; ``"crops"``: only the accepted cells do, each
        with a margin around its box, without loss; such a bank has no backgrounds. ``inputs`` are
        the fingerprints of what it was made from, by default those of ``build``.
        """
        holds = "images" if self_contained is True else self_contained or None
        if holds not in (None, "images", "crops"):
            raise unknown("content of a self-contained bank", str(holds), ["images", "crops"])
        if self.holds == "crops" and holds == "images":
            raise InputError(f"{self.root}: this bank holds crops, no source images to copy")
        holds = "crops" if self.holds == "crops" else holds
        self.inputs = dict(inputs) if inputs is not None else self.inputs
        with writing(path, "bank", settings=self.settings, inputs=self.inputs) as folder:
            if holds == "images":
                copy_images(self.pictures, images_of(self.backgrounds, self.table), folder / IMAGES)
            written = self._cropped(folder / IMAGES) if holds == "crops" else self
            written.write_tables(folder, holds)

    def write_tables(self, folder: Path, holds: str | None) -> None:
        """Write all of the bank but its pictures into the folder of an unfinished artifact."""
        from naturalize.cells.pictures import bank_sheets

        write_table(folder / "cells.parquet", self.table)
        write_table(folder / "backgrounds.parquet", self.backgrounds)
        about = {
            "root": IMAGES if holds else str(self.root.resolve()),
            "holds": holds,
            "part": self.part,
            "labels": list(self.labels),
            "counts": self.counts(),
        }
        write_json(folder / "bank.json", about)
        for name, picture in bank_sheets(self.table, self.labels, self.cutout):
            write_image(folder / name, picture, quality=90)

    def _cropped(self, folder: Path) -> CellBank:
        """Write a picture of each accepted cell; return the bank of these."""
        rows = []
        for row in track(self.cells().to_pylist(), "crop cells"):
            path = crop_path(row["cell_id"])
            write_image(folder / path, self.cutout(row["cell_id"], margin=MARGIN).rgb)
            rows.append(moved_into_crop(row, path))
        table = pa.Table.from_pylist(rows, schema=self.table.schema)
        about = {"labels": self.labels, "part": self.part, "inputs": self.inputs}
        return CellBank.of_crops(table, folder, **about)

    @classmethod
    def of_crops(cls, table: pa.Table, folder: Path, **about: Any) -> CellBank:
        """Return the bank whose pictures are crops of its cells, in ``folder``; no backgrounds."""
        return cls(table, BACKGROUNDS.empty_table(), root=folder, holds="crops", **about)

    @classmethod
    def load(
        cls, path: str | Path, *, root: str | Path | None = None, check: bool = False
    ) -> CellBank:
        """Open a bank artifact; ``root`` says where its images are now, if they have moved.

        With ``check``, the content of each source image is checked when it is read.
        """
        path = Path(path)
        manifest, about = read_manifest(path, "bank"), read_json(path / "bank.json")
        try:
            saved, labels, part = Path(about["root"]), tuple(about["labels"]), about["part"]
            holds = about["holds"]
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{path / 'bank.json'}: lacks {error}") from error
        inside = f"{IMAGES}/"
        return cls(
            read_table(path / "cells.parquet", BANK),
            read_table(path / "backgrounds.parquet", BACKGROUNDS),
            root=Path(root).resolve() if root else path.resolve() / saved,
            labels=labels,
            part=part,
            inputs=manifest.inputs,
            check=check,
            holds=holds,
            hashes={
                name.removeprefix(inside): digest
                for name, digest in manifest.files.items()
                if holds in ("crops", "laboratory") and name.startswith(inside)
            },
        )

    def __getitem__(self, key: int | str) -> dict[str, Any]:
        """Return the row of a cell by its number or its id."""
        number = self._index_of(key) if isinstance(key, str) else range(len(self))[key]
        return self.table.slice(number, 1).to_pylist()[0]

    def summary(self) -> str:
        """Return how many cells there are, of which kinds and classes, and where the images are."""
        counts = self.counts()["accepted"]
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in counts.items()) or "none"
        n, classes = sum(counts.values()), ", ".join(self.labels) or "none"
        cells = f"{n:,} of {len(self):,} cells accepted ({kinds})"
        return f"{cells}; classes: {classes}; images: {self.root}"

    def _repr_html_(self) -> str:
        return html_table(overview(self.table), f"CellBank: {self.summary()}", rows=50)

    def cells(
        self,
        kind: str | None = None,
        label: str | None = None,
        *,
        whole: bool | None = None,
        sharp: bool | None = None,
        target: bool | None = None,
        accepted: bool | None = True,
        reason: str | None = None,
        where: Where | None = None,
    ) -> pa.Table:
        """Return the rows of the cells that fit; ``None`` means either.

        ``whole``: not cut by the image's edge; ``sharp``: at least half as sharp as the median of
        its kind (``"wbc"``, ``"rbc"`` or ``"platelet"``); ``target``: the cell that its image's
        label names; ``accepted``: may be composed; ``reason``: why it may not (``accepted`` is then
        taken for ``None``). ``where`` gives ranges of measures, ends included, ``None`` for no
        bound: ``{"area": (800, None)}``; or an Arrow expression: ``pc.field("area") > 800``. A cell
        without the measure fits no range. ``SettingsError`` for a range of a column that is not
        there or not numeric, or that is no range.
        """
        equal = {
            "kind": kind,
            "label": label,
            "target": target,
            "accepted": accepted if reason is None else None,
            "reason": reason,
            "touches_border": None if whole is None else not whole,
        }
        table = self.table
        if sharp is not None:
            table = table.filter(pa.array(are_sharp(table) == sharp))
        return matching(table, equal, where)

    def row(self, cell_id: str) -> dict[str, Any]:
        """Return a cell's row as a dictionary; ``InputError`` if the bank has no such cell."""
        return self[cell_id]

    def mask(self, cell_id: str) -> np.ndarray:
        """Return a cell's mask over its box, bool (h, w); no image is read."""
        return self._masks[self._index_of(cell_id)]

    def cutout(self, cell_id: str, *, margin: int = 0) -> Cutout:
        """Return a cell's pixels; its source image is decoded at most once in a while.

        ``margin``: pixels around the box that are wanted as well, as far as the image goes.
        """
        i = self._index_of(cell_id)
        x0, y0, x1, y1 = (int(value) for value in self._masks.boxes[i])
        path, image_id = self._places[i]
        image = self.pictures.read(path, image_id)
        height, width = image.shape[:2]
        if y1 > height or x1 > width:
            raise ArtifactError(
                f"{self.root / path}: {width} × {height} pixels, too small for "
                f"cell {cell_id}; the image has changed since it was segmented: segment again"
            )
        left, top = max(0, x0 - margin), max(0, y0 - margin)
        right, bottom = min(width, x1 + margin), min(height, y1 + margin)
        around = ((y0 - top, bottom - y1), (x0 - left, right - x1))
        rgb = image[top:bottom, left:right].copy()
        return Cutout(rgb, np.pad(self.mask(cell_id), around), (left, top))

    def image(self, image_id: str, *, check: bool | None = None) -> np.ndarray:
        """Return a source image, RGB uint8 (H, W, 3), not to be written to.

        A bank that holds crops gives the crop of the image's target cell: there is no more of it.
        ``ArtifactError`` as for :meth:`Pictures.read`; ``check`` is by default the bank's.
        """
        if image_id not in self._paths:
            raise InputError(f"no image {image_id!r} in the bank of {self.root}")
        return self.pictures.read(self._paths[image_id], image_id, check=check)

    def __getstate__(self) -> dict[str, Any]:
        lazy = ("_index", "_places", "_masks", "_paths")
        return {key: value for key, value in self.__dict__.items() if key not in lazy}

    def _index_of(self, cell_id: str) -> int:
        if cell_id not in self._index:
            raise InputError(f"no cell {cell_id!r} in the bank of {self.root}")
        return self._index[cell_id]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {cell_id: i for i, cell_id in enumerate(self.table["cell_id"].to_pylist())}

    @cached_property
    def _places(self) -> list[tuple[str, str]]:
        return list(rows_of(self.table, "path", "image_id"))

    @cached_property
    def _masks(self) -> CellMasks:
        return CellMasks(self.table)

    @cached_property
    def _paths(self) -> dict[str, str]:
        if self.holds == "crops":
            # of several crops of an image the last one written here stays: a target's, if any
            targets = self.table["target"].to_pylist()
            rows = sorted(zip(targets, self._places, strict=True), key=lambda row: row[0])
            return {image_id: path for _, (path, image_id) in rows}
        return dict(rows_of(self.backgrounds, "image_id", "path"))
