"""The doors: by what format cells go out, by what format they come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from naturalize.base.artifacts import (
    is_artifact,
    read_manifest,
    same_images,
    write_table,
    writing,
)
from naturalize.base.errors import InputError, SettingsError, closest, unknown
from naturalize.cells.exchange.coco_read import NAMES, list_coco
from naturalize.cells.exchange.coco_write import write_coco
from naturalize.cells.exchange.kinds import Kinds, given_kinds
from naturalize.cells.exchange.labels_read import ENDINGS, TABLE, list_labels, list_masks
from naturalize.cells.exchange.labels_write import write_labels
from naturalize.cells.exchange.marked import Listing, measured
from naturalize.cells.exchange.rgba import WHITE, import_rgba, write_rgba
from naturalize.cells.exchange.shards import import_shards, write_shards

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Format → writes cells of a bank into a folder and says what it wrote.
EXPORTS: dict[str, Callable[..., dict[str, Any]]] = {
    "shards": write_shards,
    "coco": write_coco,
    "labels": write_labels,
    "rgba": write_rgba,
}

#: Format → lists the images of a source and how their cells are read.
LISTINGS: dict[str, Callable[[Path, Path | None, Kinds], Listing]] = {
    "coco": list_coco,
    "labels": list_labels,
    "masks": list_masks,
}

#: Formats of cells that have no source image any more.
CUTOUTS = ("rgba", "shards")

IMPORTS = (*LISTINGS, *CUTOUTS)


def export(
    bank: CellBank,
    out: str | Path,
    *,
    format: str = "shards",
    cells: pa.Table | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write cells of a bank as an ``export`` artifact that other software reads.

    Parameters
    ----------
    bank
        The bank; its images are read.
    out
        Folder of the artifact.
    format
        ``"shards"`` (tar files, WebDataset), ``"coco"``, ``"labels"`` (a label image for each
        image, as for Cellpose) or ``"rgba"`` (a transparent PNG for each cell).
    cells
        Rows of the bank, such as ``bank.cells(kind="rbc", whole=True)``; by default all accepted.
    options
        Of the format: ``categories="kind"|"label"`` (coco), ``shard_bytes`` (shards).

    Returns
    -------
    dict
        What was written, such as ``{"cells": 812, "images": 165}``.

    Raises
    ------
    SettingsError
        For an unknown format or option.
    InputError
        If there is no cell to write.
    ArtifactError
        If a source image is gone or has changed.
    """
    if format not in EXPORTS:
        raise unknown("format", format, list(EXPORTS))
    known = {"coco": ["categories"], "shards": ["shard_bytes"]}.get(format, [])
    for name in options:
        if name not in known:
            its = f"; it has: {', '.join(known)}" if known else "; it has none"
            raise SettingsError(
                f"format {format}: unknown option {name!r}{closest(name, known)}{its}"
            )
    cells = bank.cells() if cells is None else cells
    if not cells.num_rows:
        raise InputError(f"{bank.root}: no cell of the bank fits; nothing to export")
    settings = {"format": format, **options}
    with writing(out, "export", settings=settings, inputs={"bank": bank.fingerprint}) as folder:
        return EXPORTS[format](bank, cells, folder, **options)


def import_cells(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    format: str = "auto",
    kinds: Kinds = None,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Write a ``cells`` artifact of another segmenter's masks, as ``naturalize segment`` does.

    Everything is measured on the images: focus, stain, shape, contact. ``CellBank.build`` takes it
    from there, with a catalog of the same images (they are recognised by content).

    Parameters
    ----------
    source
        A COCO file or a folder of label images.
    out
        Folder of the artifact.
    images
        Folder of the images, where it is not beside the annotations.
    format
        ``"coco"``, ``"labels"`` (one number a cell), ``"masks"`` (one number a kind: 1 white,
        2 red, 3 platelet), or ``"auto"``.
    kinds
        Which kind the names in the source are: name → ``"wbc"``, ``"rbc"``, ``"platelet"`` or
        ``"auto"`` (by size and stain); or one for all that have no other.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.

    Raises
    ------
    InputError
        For anything in the source that cannot be used; the message names the file and the
        annotation.
    """
    format, listing = _listing(Path(source), images, format, kinds)
    found = measured(listing, backend=backend, workers=workers)
    settings = {"imported": format, "cells": found.digest}
    same_source = same_images("outcomes.parquet", found.outcomes["image_id"].to_pylist())
    with writing(out, "cells", settings=settings, same_source=same_source) as folder:
        write_table(folder / "cells.parquet", found.cells)
        write_table(folder / "outcomes.parquet", found.outcomes)
    return Path(out)


def import_bank(
    source: str | Path,
    out: str | Path,
    *,
    images: str | Path | None = None,
    format: str = "auto",
    kinds: Kinds = None,
    judge: bool = True,
    self_contained: bool | str = False,
    background: tuple[float, float, float] = WHITE,
    backend: str = "serial",
    workers: int | None = None,
) -> Path:
    """Write a bank of cells whose classes the source knows one by one; no catalog is needed.

    Parameters
    ----------
    source
        A COCO file whose categories are classes, label images with a ``cells.csv``, a folder of
        RGBA cut-outs, or shards.
    out
        Folder of the bank artifact. Banks of cut-outs and shards are self-contained.
    images, format, kinds, backend, workers
        As for :func:`import_cells`; ``format`` may be ``"rgba"`` or ``"shards"`` too.
    judge
        Judge the cells as segmented ones are; else all are accepted. Shards keep their judgement.
    self_contained
        As for ``CellBank.save``.
    background
        RGB of the slide behind cut-outs.

    Raises
    ------
    InputError
        As :func:`import_cells`, and if the source names no class.
    """
    from naturalize.cells.accept import accept_all, judge_named
    from naturalize.cells.bank import CellBank
    from naturalize.cells.bank.choose import backgrounds

    source, out = Path(source), Path(out)
    format = detected(source) if format == "auto" else format
    engine: dict[str, Any] = {"backend": backend, "workers": workers}
    if format == "shards":
        return import_shards(source, out)
    if format == "rgba":
        return import_rgba(source, out, kinds=kinds, background=background, judge=judge, **engine)
    format, listing = _listing(source, images, format, kinds)
    if not listing.classes:
        raise InputError(
            f"{source}: names kinds of cells but no class; import it as cells, and build the bank "
            "with a catalog that knows the images' classes"
        )
    found = measured(listing, **engine)
    table = judge_named(found.cells, found.labels)
    bank = CellBank(
        table if judge else accept_all(table),
        backgrounds(found.outcomes),
        root=listing.root,
        labels=listing.classes,
        inputs={format: found.digest, "judged": str(judge).lower()},
    )
    bank.save(out, self_contained=self_contained)
    return out


def knows_classes(source: str | Path, *, format: str = "auto", **options: Any) -> bool:
    """Return whether a source names the classes of its cells, so that it can become a bank."""
    source = Path(source)
    format = detected(source) if format == "auto" else format
    if format in CUTOUTS:
        return True
    _, listing = _listing(source, options.get("images"), format, options.get("kinds"))
    return bool(listing.classes)


def detected(source: Path) -> str:
    """Return the format of a source by what lies there.

    Raises
    ------
    InputError
        If there is nothing, or nothing known.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    if source.is_file():
        formats = {".json": "coco", ".tar": "shards"}
        if source.suffix.lower() not in formats:
            raise InputError(f"{source}: expected a COCO .json, a .tar shard or a folder")
        return formats[source.suffix.lower()]
    if is_artifact(source, "export"):
        return str(read_manifest(source).settings["format"])
    if is_artifact(source, "cells"):
        return "masks"
    masks = [name for end in ENDINGS for name in source.rglob(f"*{end}.*")]
    signs = {
        "shards": any(source.glob("*.tar")),
        "coco": any((source / name).is_file() for name in NAMES),
        "labels": (source / TABLE).is_file() or bool(masks) or any(source.rglob("*_seg.npy")),
        "rgba": any(source.rglob("*.png")) or any(source.rglob("*.webp")),
    }
    found = next((name for name, is_so in signs.items() if is_so), None)
    if found is None:
        raise InputError(
            f"{source}: no COCO file, label images, cut-outs or shards found in it; "
            f"name the format with --format: {', '.join(IMPORTS)}"
        )
    return found


def _listing(
    source: Path, images: str | Path | None, format: str, kinds: Kinds
) -> tuple[str, Listing]:
    given_kinds(kinds)
    if format == "auto":
        format = detected(source)
    if format not in IMPORTS:
        raise unknown("format", format, ["auto", *IMPORTS])
    if format not in LISTINGS:
        raise InputError(f"{source}: {format} have no source images; import them as a bank")
    if images is not None and not Path(images).is_dir():
        raise InputError(f"{images}: no such folder of images")
    return format, LISTINGS[format](source, Path(images) if images else None, kinds)
