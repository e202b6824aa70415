"""The catalog: one row an image, with what is known of the file and its place among the others."""

from __future__ import annotations

import hashlib
import operator
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from naturalize.base import engine
from naturalize.base.artifacts import (
    fingerprint,
    read_json,
    read_manifest,
    read_table,
    same_images,
    write_json,
    write_table,
    writing,
)
from naturalize.base.console import warn
from naturalize.base.display import TableView, rows_of
from naturalize.base.errors import ImageReadError, InputError
from naturalize.base.images import content_hash, decode_image, pixel_hash, read_bytes, read_image
from naturalize.base.settings import as_stated
from naturalize.base.walk import images_folder
from naturalize.dataset.readers import Item, Listing, read
from naturalize.dataset.relations import perceptual_hash, relate, thumbnail
from naturalize.imaging.slide import slide_colour

#: Columns of ``catalog.parquet``; see ``docs/formats.md``.
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("source_part", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("format", pa.string()),
        ("n_bytes", pa.int64()),
        ("encoder", pa.string()),
        ("exif_rotated", pa.bool_()),
        ("pixel_hash", pa.string()),
        ("perceptual_hash", pa.string()),
        ("background_r", pa.float32()),
        ("background_g", pa.float32()),
        ("background_b", pa.float32()),
        ("flags", pa.list_(pa.string())),
        ("duplicate_of", pa.string()),
        ("near_duplicate_of", pa.string()),
        ("problem", pa.string()),
    ]
)


class About(BaseModel):
    """What ``catalog.json`` says."""

    root: Path
    scheme: str
    reader: str
    labels: list[str]
    skipped: list[dict[str, str]]
    dropped: dict[str, int]


@dataclass(repr=False)
class Catalog(TableView):
    """The images of a source."""

    #: Folder that the paths are relative to.
    root: Path
    #: Names of the label scheme and of the reader.
    scheme: str
    reader: str
    #: The classes, in the order of all tables and plots.
    labels: tuple[str, ...]
    #: One row an image, sorted by path; columns as in ``docs/formats.md``.
    table: pa.Table
    #: ``{"path", "reason"}`` of each file that was passed over.
    skipped: list[dict[str, str]] = field(default_factory=list)
    #: Prefix or folder → number of images that have no class in the scheme.
    dropped: dict[str, int] = field(default_factory=dict)
    _unpacked: tempfile.TemporaryDirectory[str] | None = field(default=None, repr=False)

    @classmethod
    def build(
        cls,
        root: str | Path,
        *,
        scheme: str = "folders",
        reader: str = "auto",
        columns: Mapping[str, str] | None = None,
        strict: bool = False,
        **run: Any,
    ) -> Catalog:
        """Read and measure all images of a source.

        The source and how it is read are those of :func:`naturalize.dataset.readers.read`. An image
        that cannot be read is kept as a row with a ``problem`` and never used; with ``strict`` it
        is an error. ``run``: ``backend`` and ``workers`` of :func:`naturalize.base.engine.map`,
        which do not change the result.

        ``InputError`` if there is no such source, no image in it, or none that can be read.
        """
        root = Path(root)
        unpacked = None
        if root.suffix.lower() == ".npz" and root.is_file():
            unpacked = tempfile.TemporaryDirectory(prefix="naturalize-")
        images = Path(unpacked.name) if unpacked else None
        listing = read(root, scheme, reader, images=images, columns=columns)
        rows = _measured(listing, strict, run)
        if all(row.get("problem") is not None for row in rows):
            raise InputError(
                f"{root}: none of {len(rows)} images can be read; "
                f"the first is {rows[0]['path']} ({rows[0]['problem']})"
            )
        catalog = cls(
            root=listing.root.resolve(),
            scheme=scheme,
            reader=listing.reader,
            labels=listing.labels,
            table=pa.Table.from_pylist(rows, schema=SCHEMA),
            skipped=listing.skipped,
            dropped=listing.dropped,
            _unpacked=unpacked,
        )
        if len(present := [label for label, n in catalog.counts().items() if n]) == 1:
            warn(f"{root}: one class only ({present[0]}); it cannot be split or learnt")
        return catalog

    def summary(self) -> str:
        """Say how many images there are, of which classes, and where."""
        counts = self.counts()
        classes = ", ".join(f"{label} {n:,}" for label, n in counts.items() if n)
        usable = sum(counts.values())
        return f"{len(self):,} images of {self.root}, {usable:,} usable ({classes})"

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the content: scheme, reader and a hash over the images and their labels."""
        lines = rows_of(self.table, "path", "image_id", "label", "group", "source_part")
        digest = hashlib.sha256(repr(sorted(lines, key=repr)).encode()).hexdigest()[:16]
        return {"scheme": self.scheme, "reader": self.reader, "images": digest}

    @property
    def fingerprint(self) -> str:
        """16 hex digits naming the content; equal to the saved artifact's."""
        return fingerprint("catalog", self.settings, {})

    @property
    def unpacked(self) -> bool:
        """Whether the images lie in a folder that goes with this object: those of an archive."""
        return self._unpacked is not None

    def usable(self) -> pa.Table:
        """Return the rows to work with: readable, labelled, one a picture and label.

        Of several files with the same pixels and label the one with the smallest ``image_id``
        stays, so renaming files changes nothing. Pictures with two labels are still in (flag
        ``label_conflict``).
        """
        rows = rows_of(self.table, "pixel_hash", "label", "image_id")
        best: dict[tuple[str, str], tuple[str, int]] = {}
        for i, (pixels, label, image_id) in enumerate(rows):
            if pixels is not None and label is not None:
                found = (image_id, i)
                best[pixels, label] = min(best.get((pixels, label), found), found)
        return self.table.take(pa.array(sorted(i for _, i in best.values()), pa.int64()))

    def counts(self) -> dict[str, int]:
        """Return class → number of usable images, for every class of the scheme."""
        found = Counter(self.usable()["label"].to_pylist())
        return {label: found[label] for label in self.labels}

    def parts(self) -> dict[str, int]:
        """Return part → number of usable images, of the parts that the source itself names."""
        return dict(Counter(part for part in self.usable()["source_part"].to_pylist() if part))

    def path_of(self, image_id: str) -> Path:
        """Return the (first) file with this id."""
        if image_id not in self._path_of_id:
            raise InputError(f"no image {image_id!r} in the catalog of {self.root}")
        return self.root / self._path_of_id[image_id]

    def read(self, image_id: str) -> np.ndarray:
        """Return the image with this id: RGB uint8 (H, W, 3)."""
        return read_image(self.path_of(image_id))

    @cached_property
    def _path_of_id(self) -> dict[str, str]:
        return dict(reversed([*rows_of(self.table, "image_id", "path")]))

    def unreadable(self) -> list[dict[str, str]]:
        """Return ``{"path", "reason"}`` of each image that cannot be read."""
        bad = self.table.filter(pc.is_valid(self.table["problem"]))
        return bad.select(["path", "problem"]).rename_columns(["path", "reason"]).to_pylist()

    def save(self, path: str | Path, *, also: Callable[[Path], None] | None = None) -> None:
        """Write the catalog artifact; images unpacked from an archive go into its ``images/``.

        ``also`` is called with the unfinished folder, to write more into it (the audit).
        """
        path = Path(path)
        with writing(
            path, "catalog", settings=self.settings, same_source=self._same_source
        ) as folder:
            if self._unpacked:
                shutil.copytree(self.root, folder / "images")
            write_table(folder / "catalog.parquet", self.table)
            about = {
                "root": "images" if self._unpacked else str(self.root),
                "scheme": self.scheme,
                "reader": self.reader,
                "labels": list(self.labels),
                "skipped": self.skipped,
                "dropped": self.dropped,
            }
            write_json(folder / "catalog.json", about)
            if also:
                also(folder)
        if self._unpacked:
            self.root = path.resolve() / "images"
            self._unpacked.cleanup()
            self._unpacked = None

    def _same_source(self, old: Path) -> bool:
        """Return whether a catalog is of the same folder, or shares an image with this one."""
        ids = self.table["image_id"].to_pylist()
        root = read_json(old / "catalog.json").get("root")
        return root == str(self.root) or same_images("catalog.parquet", ids)(old)

    @classmethod
    def load(cls, path: str | Path, *, root: str | Path | None = None) -> Catalog:
        """Open a catalog artifact; ``root`` says where its images are now, if they have moved."""
        path = Path(path)
        read_manifest(path, "catalog")
        file = path / "catalog.json"
        # not by its hash: a person may put the root right
        about = as_stated(About, read_json(file), file, "build the catalog again")
        return cls(
            root=_moved(Path(root)) if root else (path.resolve() / about.root),
            scheme=about.scheme,
            reader=about.reader,
            labels=tuple(about.labels),
            table=read_table(path / "catalog.parquet", SCHEMA),
            skipped=about.skipped,
            dropped=about.dropped,
        )


def _moved(root: Path) -> Path:
    """Return the folder that paths count from, for a root as :meth:`Catalog.build` takes it."""
    return (root.parent if root.is_file() else images_folder(root)).resolve()


def _measured(listing: Listing, strict: bool, run: dict[str, Any]) -> list[dict[str, Any]]:
    rows, smalls = [], []
    results = engine.map(
        partial(measure, root=listing.root),
        listing.items,
        chunk=32,
        what="catalog",
        name=operator.attrgetter("path"),
        **run,
    )
    for row, small in results:
        if strict and row.get("problem") is not None:
            raise InputError(f"{listing.root / row['path']}: {row['problem']} (strict)")
        rows.append(row)
        smalls.append(small)
    relate(rows, smalls)
    return rows


def measure(item: Item, root: Path) -> tuple[dict[str, Any], np.ndarray | None]:
    """Return the catalog row of an image and its small grey picture (``None`` if unreadable)."""
    row: dict[str, Any] = {
        "image_id": "",
        "path": item.path,
        "label": item.label,
        "group": item.group,
        "source_part": item.source_part,
        "n_bytes": 0,
        "flags": [],
    }
    try:
        data = read_bytes(root / item.path)
    except ImageReadError as error:
        row |= {"image_id": content_hash(b""), "problem": error.reason, "flags": ["unreadable"]}
        return row, None
    row |= {"image_id": content_hash(data), "n_bytes": len(data)}
    try:
        image, facts = decode_image(data, name=item.path)
    except ImageReadError as error:
        row |= {"problem": error.reason, "flags": ["unreadable"]}
        return row, None
    small = thumbnail(image)
    red, green, blue = slide_colour(image)
    row |= {
        "width": facts.width,
        "height": facts.height,
        "mode": facts.mode,
        "format": facts.format,
        "encoder": facts.encoder,
        "exif_rotated": facts.exif_rotated,
        "pixel_hash": pixel_hash(image),
        "perceptual_hash": perceptual_hash(small),
        "background_r": red,
        "background_g": green,
        "background_b": blue,
        "flags": facts.flags,
    }
    return row, small
