"""Cells in and out: what other tools annotated becomes a bank, a bank becomes what others read.

A format is one file here and a line in the registries below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from naturalize.base.artifacts import (
    is_artifact,
    read_manifest,
    same_images,
    write_table,
    writing,
)
from naturalize.base.errors import InputError, SettingsError, closest, unknown
from naturalize.base.settings import Settings, validated
from naturalize.base.walk import walk_images
from naturalize.cells.choose import accept_all, backgrounds, judge_named
from naturalize.cells.exchange.annotated import Listing, Measured, measured
from naturalize.cells.exchange.coco import CATEGORIES, NAMES, list_coco, write_coco
from naturalize.cells.exchange.cutouts import import_rgba, write_rgba
from naturalize.cells.exchange.kinds import given_kinds
from naturalize.cells.exchange.labels import ENDINGS, TABLE, list_labels, write_labels
from naturalize.cells.exchange.meaning import MeaningName
from naturalize.cells.exchange.shards import import_shards, write_shards

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Format → writes cells of a bank into a folder and returns what it wrote.
EXPORTS: dict[str, Callable[..., dict[str, Any]]] = {
    "shards": write_shards,
    "coco": write_coco,
    "labels": write_labels,
    "rgba": write_rgba,
}

#: Options of the formats that have any.
_OPTIONS = {"coco": ("categories",), "shards": ("shard_bytes",)}

#: Format → lists the images of a source and how their cells are read.
LISTINGS: dict[str, Callable[[Path, ImportSettings, Mapping[str, Any]], Listing]] = {
    "coco": list_coco,
    "labels": list_labels,
    "masks": list_labels,
}

#: Format → writes a bank of cells that have no source image any more.
CUTOUTS: dict[str, Callable[[Path, Path, ImportSettings, Mapping[str, Any]], None]] = {
    "rgba": import_rgba,
    "shards": import_shards,
}


class ImportSettings(Settings):
    """What a user states about the source of an import."""

    #: ``masks`` are label images of kinds: 1 white, 2 red, 3 platelet; ``rgba`` are cut-outs.
    format: Literal["auto", "coco", "labels", "masks", "rgba", "shards"] = "auto"
    #: Folder of the images, where it is not beside the annotations.
    images: Path | None = None
    #: Which kind the names in the source are: name → ``"wbc"``, ``"rbc"``, ``"platelet"`` or
    #: ``"auto"`` (by size and stain), ``"*"`` for all others; or one for all that have no other.
    kinds: str | dict[str, str] | None = None
    #: What the numbers of label images are; by default what they show, if it is certain.
    meaning: MeaningName | None = None
    #: The slide has the highest number of a label image.
    invert: bool = False
    #: COCO masks marked ``iscrowd`` are single cells, as brush masks of CVAT are.
    brush: bool = False
    #: Into a bank: judge the cells as segmented ones are; else all are accepted. Shards keep
    #: theirs.
    judge: bool = True
    #: Into a bank: as for ``CellBank.save``.
    self_contained: bool | Literal["images", "crops"] = False
    #: RGB of the slide behind cut-outs.
    background: tuple[float, float, float] = (255.0, 255.0, 255.0)


def export(
    bank: CellBank,
    out: str | Path,
    *,
    format: str = "shards",
    cells: pa.Table | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Write cells of a bank as an ``export`` artifact that other software reads.

    Return what was written, such as ``{"cells": 812, "images": 165}``.

    ``format`` is ``"shards"`` (tar files, WebDataset), ``"coco"``, ``"labels"`` (a label image for
    each image, as for Cellpose) or ``"rgba"`` (a transparent PNG for each cell); ``options`` are
    those of the format: ``categories="kind"|"label"`` (coco), ``shard_bytes`` (shards). ``cells``
    are rows of the bank, such as ``bank.cells(kind="rbc", whole=True)``; by default all accepted.

    ``SettingsError`` for an unknown format or option, ``InputError`` if there is no cell to write,
    ``ArtifactError`` if a source image is gone or has changed.
    """
    if format not in EXPORTS:
        raise unknown("format", format, list(EXPORTS))
    its = _OPTIONS.get(format, ())
    for name, value in options.items():
        if name not in its:
            raise SettingsError(
                f"format {format}: unknown option {name!r}{closest(name, list(its))}; "
                f"it has: {', '.join(its) or 'none'}"
            )
        if name == "categories" and value not in CATEGORIES:
            raise unknown("categories", value, list(CATEGORIES))
    cells = bank.cells() if cells is None else cells
    if not cells.num_rows:
        raise InputError(f"{bank.root}: no cell of the bank fits; nothing to export")
    settings = {"format": format, **options}
    with writing(out, "export", settings=settings, inputs={"bank": bank.fingerprint}) as folder:
        return EXPORTS[format](bank, cells, folder, **options)


def import_source(
    source: str | Path,
    out: str | Path,
    *,
    to: str = "auto",
    backend: str = "serial",
    workers: int | None = None,
    **settings: Any,
) -> str:
    """Write a ``cells`` or a ``bank`` artifact of what another tool annotated; return which.

    Everything is measured on the images: focus, stain, shape, contact. What of the source cannot
    be used is left out, with a warning that counts it by reason.

    ``source`` is a COCO file, a folder of label images or of transparent cut-outs, or shards;
    ``settings`` are those of :class:`ImportSettings`. ``to`` is ``"cells"``, as ``naturalize
    segment`` writes them, from which ``CellBank.build`` makes a bank with a catalog of the same
    images; ``"bank"``, where the source names the class of each cell; or ``"auto"``, a bank where
    it does. Banks of cut-outs and shards are self-contained. ``backend`` and ``workers`` are those
    of :func:`naturalize.base.engine.map`; they do not change the result.

    ``InputError`` if nothing in the source can be used, or its masks can mean several things; the
    message names the file and the option that decides.
    """
    source, out = Path(source), Path(out)
    given = validated(ImportSettings, settings, what="import")
    given_kinds(given.kinds)
    if to not in ("auto", "cells", "bank"):
        raise unknown("kind of import", to, ["auto", "cells", "bank"])
    if given.images is not None and not given.images.is_dir():
        raise InputError(f"{given.images}: no such folder of images")
    if given.format == "auto":
        given = given.model_copy(update={"format": detected(source)})
    run: dict[str, Any] = {"backend": backend, "workers": workers}
    if given.format in CUTOUTS:
        if to == "cells":
            raise InputError(
                f"{source}: {given.format} have no source images; import them as a bank"
            )
        CUTOUTS[given.format](source, out, given, run)
        return "bank"
    listing = LISTINGS[given.format](source, given, run)
    if to == "bank" and not listing.classes:
        raise InputError(
            f"{source}: names kinds of cells but no class; import it as cells, and build the bank "
            "with a catalog that knows the images' classes"
        )
    to = "cells" if to == "cells" or not listing.classes else "bank"
    if to == "cells" and (given.self_contained or not given.judge):
        raise SettingsError("judge (--accept-all) and self_contained are for a bank")
    found = measured(listing, **run)
    if to == "bank":
        _bank_of(found, listing, given).save(out, self_contained=given.self_contained)
        return "bank"
    about = {"imported": given.format, "cells": found.digest}
    same_source = same_images("outcomes.parquet", found.outcomes["image_id"].to_pylist())
    with writing(out, "cells", settings=about, same_source=same_source) as made:
        write_table(made / "cells.parquet", found.cells)
        write_table(made / "outcomes.parquet", found.outcomes)
    return "cells"


def import_cells(source: str | Path, out: str | Path, **options: Any) -> Path:
    """Write a ``cells`` artifact of what another tool annotated; see :func:`import_source`."""
    import_source(source, out, to="cells", **options)
    return Path(out)


def import_bank(source: str | Path, out: str | Path, **options: Any) -> Path:
    """Write a bank of cells whose classes the source names; see :func:`import_source`."""
    import_source(source, out, to="bank", **options)
    return Path(out)


def _bank_of(found: Measured, listing: Listing, settings: ImportSettings) -> CellBank:
    from naturalize.cells.bank import CellBank

    table = judge_named(found.cells, found.labels)
    return CellBank(
        table if settings.judge else accept_all(table),
        backgrounds(found.outcomes),
        root=listing.root,
        labels=listing.classes,
        inputs={settings.format: found.digest, "judged": str(settings.judge).lower()},
    )


def detected(source: Path) -> str:
    """Return the format of a source by what lies there.

    Raises ``InputError`` if there is nothing, or nothing of these formats.
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
    names = walk_images(source, suffixes={".npy", ".png", ".tif", ".tiff", ".bmp", ".jpg", ".webp"})
    stems = [Path(name).stem for name in names.images]
    signs = {
        "shards": any(source.glob("*.tar")),
        "coco": any((source / name).is_file() for name in NAMES),
        "labels": (source / TABLE).is_file() or any(s.endswith((*ENDINGS, "_seg")) for s in stems),
        "rgba": any(name.lower().endswith((".png", ".webp")) for name in names.images),
    }
    found = next((name for name, is_so in signs.items() if is_so), None)
    if found is None:
        raise InputError(
            f"{source}: no COCO file, label images, cut-outs or shards found in it; "
            f"name the format with --format: {', '.join([*LISTINGS, *CUTOUTS])}"
        )
    return found
