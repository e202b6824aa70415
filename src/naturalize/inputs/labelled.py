"""Labelled images to evaluate on: from a tree, a catalog, or a study's held-out part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base.artifacts import read_manifest
from naturalize.base.console import remark, warn
from naturalize.base.display import rows_of
from naturalize.base.errors import InputError, unknown
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.readers.levels import PARTS
from naturalize.dataset.split import Split
from naturalize.evaluation.doubt import write_doubt
from naturalize.evaluation.evaluate import evaluate
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.predictions import Item
from naturalize.inputs.kind import named
from naturalize.models.folder import describe
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find
from naturalize.prediction.predictor import standardising

_NEEDS = "labelled images, a catalog or a study folder"


@dataclass(frozen=True)
class LabelledData:
    """Images with labels, and the fingerprints of what named them.

    ``items`` include files that cannot be read, so that an evaluation lists them; ``left_out`` says
    what they do not include (see :func:`naturalize.evaluation.evaluate.evaluate`); ``catalog``
    keeps images that were unpacked from an archive in place.
    """

    root: Path
    items: list[Item]
    inputs: dict[str, str]
    catalog: Catalog = field(repr=False)
    left_out: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The classes that occur, in the order of the catalog."""
        there = {item.label for item in self.items}
        return [label for label in self.catalog.labels if label in there]


def labelled_data(
    source: str | Path,
    *,
    part: str = "test",
    root: str | Path | None = None,
    **reading: Any,
) -> LabelledData:
    """Open what a user calls DATA; ``InputError`` if nothing is there, or no labelled image.

    Parameters
    ----------
    source
        A study folder or a folder with a catalog and a split in it (its ``part`` is taken), a
        catalog artifact, or any labelled source that
        :meth:`naturalize.dataset.catalog.Catalog.build` reads (all of it, unless it names parts).
    part
        Part of a split, or of the parts that the source itself names: ``train``, ``val``, ``test``
        or ``all``.
    root
        Where the images are now, if they have moved since the catalog was written.
    reading
        ``scheme``, ``reader``, ``columns``: how a labelled source is read (a catalog has its own);
        ``backend``, ``workers``: as for :func:`naturalize.base.engine.map`.
    """
    there = named(source, _NEEDS)
    split_path = there.find("split") if there.find("catalog") else None
    split = Split.load(split_path) if split_path else None
    catalog = there.catalog(_NEEDS, root, **reading)
    if part not in (*PARTS, "all"):
        raise unknown("part", part, [*PARTS, "all"])
    if split is not None and part != "all":
        items = part_items(catalog, split, part)
    else:
        items = _own_part(catalog, part)
    if not items:
        what = f"the {part} part of {source}" if split or catalog.parts() else str(source)
        raise InputError(f"{what}: no labelled image to evaluate on; check --scheme and --part")
    if not catalog.root.is_dir():
        raise InputError(
            f"{catalog.root}: the images of {source} are not there any more; say where with --root"
        )
    inputs = {"catalog": catalog.fingerprint} | ({"split": split.fingerprint} if split else {})
    left_out = {} if split else _left_out(catalog)
    return LabelledData(catalog.root, items, inputs, catalog, left_out)


def evaluate_on(
    source: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    merge: Merge | None = None,
    standardise: str = "auto",
    profile: Path | None = None,
    reading: Mapping[str, Any] | None = None,
    doubt: Path | None = None,
    **scoring: Any,
) -> Path:
    """Score a model on what a user calls DATA, and write an `evaluation` artifact to ``out``.

    ``source`` and ``reading`` are as for :func:`labelled_data`, ``model`` is a model folder or the
    name of a shipped one, ``standardise`` and ``profile`` are as for
    :func:`naturalize.prediction.predictor.standardising`, ``merge`` and ``scoring`` as for
    :func:`naturalize.evaluation.evaluate.evaluate`, whose errors are raised too. ``doubt``:
    where a copy of the model shall be that is fitted on these images; see
    `naturalize.evaluation.doubt.write_doubt`.
    """
    merge = merge or Merge()
    folder = find(model)
    predictor = Predictor.load(folder)
    merge.names(predictor.classes)  # what does not fit is said before a tree is read
    found = _consistent(labelled_data(source, **(reading or {})))
    for text in merge.unused(found.labels):
        warn(text)
    paths = [found.root / item.path for item in found.items]
    made = evaluate(
        standardising(predictor, paths, standardise, profile),
        found.items,
        found.root,
        out,
        protocol=describe(folder)["protocol"],
        merge=merge,
        inputs={"model": read_manifest(folder).fingerprint, **found.inputs},
        left_out=found.left_out,
        **scoring,
    )
    if doubt is not None:
        write_doubt(folder, found.items, found.root, doubt)
    return made


def _consistent(found: LabelledData) -> LabelledData:
    """Return images without those of which one picture has two classes: one of them is wrong."""
    flags = dict(rows_of(found.catalog.table, "path", "flags"))
    items = [item for item in found.items if "label_conflict" not in flags[item.path]]
    if not items:
        raise InputError(f"{found.root}: each picture has two classes; correct the labels")
    n = len(found.items) - len(items)
    return replace(found, items=items, left_out={**found.left_out, "n_contradicting": n})


def part_items(catalog: Catalog, split: Split, part: str) -> list[Item]:
    """Return the images of one part of a split, with their groups, in the catalog's order."""
    wanted = set(split.ids(part))
    groups = dict(rows_of(split.table, "image_id", "group"))
    rows = rows_of(catalog.usable(), "image_id", "path", "label")
    return [Item(i, path, label, groups[i]) for i, path, label in rows if i in wanted]


def _own_part(catalog: Catalog, part: str) -> list[Item]:
    """Return all images, or those of the part, where the source names the parts of its images."""
    bad = pc.and_(pc.is_valid(catalog.table["problem"]), pc.is_valid(catalog.table["label"]))
    rows = pa.concat_tables([catalog.usable(), catalog.table.filter(bad)]).sort_by("path")
    items = [Item(*row) for row in rows_of(rows, "image_id", "path", "label", "group")]
    parts = catalog.parts()
    if part == "all" or len(parts) < 2:
        return items
    part_of = dict(rows_of(catalog.table, "path", "source_part"))
    named = ", ".join(f"{name} {n:,}" for name, n in sorted(parts.items()))
    remark(f"{catalog.root}: names parts ({named}); {part} is taken, --part all takes all")
    return [item for item in items if part_of[item.path] == part]


def _left_out(catalog: Catalog) -> dict[str, Any]:
    table = catalog.table
    readable = pc.and_(pc.is_null(table["problem"]), pc.is_valid(table["label"]))
    n_copies = pc.sum(readable).as_py() - catalog.usable().num_rows
    return {
        "dropped_labels": dict(catalog.dropped),
        "n_copies": n_copies,
        "passed_over": list(catalog.skipped),
    }
