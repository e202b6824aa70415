"""What a user calls SOURCE: a study folder, a bank, a catalog, or a tree segmented on the way.

And PLAN: a plan artifact, composites written with theirs, or a study folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import (
    fingerprint,
    is_artifact,
    link_file,
    read_json,
    read_manifest,
)
from naturalize.base.console import warn
from naturalize.base.display import rows_of
from naturalize.base.errors import InputError, NaturalizeError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.deliver.laboratory import scene_images
from naturalize.compose.recipe.plan import Plan, check
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.inputs.kind import Named, named

_NEEDS = "a study folder, a bank, a catalog or a folder of labelled images"
_NEEDS_PLAN = "a plan, composites or a study folder"


@dataclass(frozen=True)
class ComposeSource:
    """Cells to compose from, and what is known of their images.

    ``split`` says which images cells may be taken from, if there is one; ``real`` is class → number
    of real images that may, ``None`` lets the plan count them in the bank. ``catalog`` and
    ``cells`` are of a source that was segmented on the way; the catalog keeps unpacked images in
    place. ``bank_path`` is the bank's folder, of a source that has one. ``laboratory`` is the bank
    that is drawn from where cells are set into another laboratory's images, and ``scenes`` the
    cells that were found in these: :func:`naturalize.inputs.laboratory.set_into`.
    """

    bank: CellBank
    split: Split | None = None
    real: Mapping[str, int] | None = None
    catalog: Catalog | None = field(default=None, repr=False)
    cells: Path | None = None
    bank_path: Path | None = None
    laboratory: CellBank | None = None
    scenes: Path | None = None

    @property
    def drawn_from(self) -> CellBank:
        """The bank whose cells and scenes composites are made of."""
        return self.laboratory or self.bank

    def keep(self, folder: Path) -> None:
        """Leave what was made on the way in ``folder``, as a study has it, to go on from there.

        ``catalog/``, ``cells/``, ``bank/`` and, if there is one, ``split/``; of a source that has a
        bank already, that alone, unless it lies beside ``folder`` or holds its images. The bank of
        an archive holds them: they lie nowhere else. Also ``laboratory/`` and ``scenes/``, if cells
        were set into another laboratory's images.
        """
        if self.laboratory is not None and self.scenes is not None:
            kept = {"laboratory": self.laboratory.root.parent, "scenes": self.scenes}
            for name, place in kept.items():
                shutil.copytree(place, folder / name, copy_function=link_file)
        if self.bank_path is not None and self.bank_path.parent != folder.parent.resolve():
            self._keep_bank(self.bank_path, folder / "bank")
        if self.catalog is None or self.cells is None:
            return
        shutil.copytree(self.cells, folder / "cells", copy_function=link_file)
        self.bank.save(folder / "bank", self_contained=self.catalog.unpacked)
        if self.split is not None:
            self.split.save(folder / "split")
        self.catalog.save(folder / "catalog")

    def _keep_bank(self, bank_path: Path, folder: Path) -> None:
        if self.bank.holds:
            return
        if read_json(bank_path / "bank.json").get("root") == str(self.bank.root):
            shutil.copytree(bank_path, folder, copy_function=link_file)
        else:  # its images have moved
            self.bank.save(folder)

    def lineage(self, plan: Plan) -> dict[str, Any]:
        """Return what ``lineage.json`` says of a plan; without a split: not checked."""
        if self.split is not None:
            return check(plan, self.split, scene_images(self.drawn_from))
        cut = f"the bank was cut from part {self.bank.part!r}" if self.bank.part else "all images"
        return {
            "n_composites": len(plan),
            "n_parents": len(plan.parents()),
            "statement": f"not checked, no split was given (cells of {cut})",
        }


@contextmanager
def open_source(
    source: str | Path,
    *,
    work: str | Path,
    split: str | Path | None = None,
    fractions: Sequence[float] | None = None,
    root: str | Path | None = None,
    segmenter: str = "unet",
    segmenter_settings: Mapping[str, Any] | None = None,
    kept: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
    **reading: Any,
) -> Iterator[ComposeSource]:
    """Open what composites are made from, as a context manager.

    ``InputError`` if there is nothing at ``source``, or nothing to compose from; ``ArtifactError``
    if it is an artifact of a kind that has no cells; ``SettingsError`` if a source that has a
    split, or has its cells chosen already, is to be split.

    Parameters
    ----------
    source
        A study folder (its ``bank/`` and ``split/``), a bank or a catalog artifact, or any labelled
        source that :meth:`naturalize.dataset.catalog.Catalog.build` reads. The last two are
        segmented on the way.
    work
        Folder for what is made on the way; removed at the end and after a user's mistake, kept by a
        kill, so that the same call goes on from there.
    split
        A split artifact: cells are taken from images of its train part only, and lineage is checked
        against it. A study has its own. Without one, cells are taken from every image.
    fractions
        Split a source that is segmented on the way, into shares of train, val and test, instead.
        Pictures with two labels are left out.
    root
        Where the images are now, if they have moved.
    segmenter, segmenter_settings
        For a source that is segmented on the way.
    kept
        Where an earlier run kept what it made (:meth:`ComposeSource.keep`): the same images are not
        segmented again by the same segmenter.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they do not change the result.
    reading
        ``scheme``, ``reader``, ``columns``: how a labelled source is read.
    """
    there, work = named(source, _NEEDS), Path(work)
    try:
        bank = there.find("bank")
        _check_fractions(there, bank, split, fractions)
        if bank is not None:
            yield _of_bank(there, bank, split, root)
        else:
            engine = {"backend": backend, "workers": workers}
            catalog = there.catalog(_NEEDS, root, **reading, **engine)
            found = _cut(catalog, fractions) if fractions else _split(there, split)
            if found is None and len(catalog.parts()) > 1:
                found = _cut(catalog, None)
            segmented = {"name": segmenter, **(segmenter_settings or {})}
            places = (work, Path(kept) / "cells" if kept is not None else None)
            yield _of_catalog(catalog, found, places, segmented, engine)
    except NaturalizeError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _check_fractions(
    source: Named,
    bank: Path | None,
    split: str | Path | None,
    fractions: Sequence[float] | None,
) -> None:
    if fractions is None:
        return
    if split is not None:
        raise SettingsError("fractions and split: name one of them")
    if bank is not None:
        raise SettingsError(f"fractions: {bank} holds cells already; split before they are chosen")
    if source.find("split"):
        raise SettingsError(f"fractions: {source.path} has a split of its own; leave them out")


def _cut(catalog: Catalog, fractions: Sequence[float] | None) -> Split:
    """Return a split by fractions or, without them, into the parts that the source names."""
    how: dict[str, Any] = {"fractions": fractions, "use": "random"} if fractions else {}
    split = Split.build(catalog, conflicts="drop", **how)
    if split.dropped:
        first = split.dropped[0]
        warn(f"{len(split.dropped)} images left out, the first: {first['path']}: {first['reason']}")
    return split


def _of_bank(
    source: Named, path: Path, split: str | Path | None, root: str | Path | None
) -> ComposeSource:

    bank, found = CellBank.load(path, root=root), _split(source, split)
    bank_path, real = path.resolve(), None
    if found is not None:
        real = found.counts()["train"]
    elif bank.part is None and (catalog := source.find("catalog")):
        real = Catalog.load(catalog).counts()
    return ComposeSource(bank, found, real, bank_path=bank_path)


def _split(source: Named, other: str | Path | None) -> Split | None:

    found = other if other is not None else source.find("split")
    return Split.load(found) if found is not None else None


def _of_catalog(
    catalog: Catalog,
    split: Split | None,
    places: tuple[Path, Path | None],
    segmented: Mapping[str, Any],
    engine: Mapping[str, Any],
) -> ComposeSource:

    items = list(rows_of(catalog.usable(), "image_id", "path"))
    if split is None:
        warn(
            f"{catalog.root}: no split given, so cells of every image may be used; keep the images "
            "you test on out of it, name a split, or give fractions"
        )
    else:
        train = set(split.ids("train"))
        items = [item for item in items if item[0] in train]
        if not items:
            raise InputError(
                f"{catalog.root}: none of its images is in the train part of the split; it was "
                "made from other images"
            )
    cells = _cells(catalog, items, places, segmented, engine)
    real = split.counts()["train"] if split else catalog.counts()
    return ComposeSource(CellBank.build(cells, catalog, split), split, real, catalog, cells)


def _cells(
    catalog: Catalog,
    items: list[tuple[str, str]],
    places: tuple[Path, Path | None],
    segmented: Mapping[str, Any],
    engine: Mapping[str, Any],
) -> Path:
    """Return the ``cells`` artifact of a catalog's ``items``."""
    inputs = {"catalog": catalog.fingerprint}
    return segmented_once(items, catalog.root, inputs, places, segmented, engine)


def segmented_once(
    items: list[tuple[str, str]],
    root: Path,
    inputs: Mapping[str, str],
    places: tuple[Path, Path | None],
    segmented: Mapping[str, Any],
    engine: Mapping[str, Any],
) -> Path:
    """Return the ``cells`` artifact of ``items``; one that an earlier run finished is taken.

    ``places``: the work folder, and where an earlier run may have kept it; ``segmented``: the
    segmenter's ``name`` and settings; the others as for
    :func:`naturalize.cells.segment.segment_images`.
    """
    from naturalize.cells.segment import described, segment_images
    from naturalize.cells.segmenters import segmenter

    work, kept = places
    finder = segmenter(**segmented)
    named = fingerprint("cells", described(items, finder), inputs)
    cells = work / f"cells-{named}"
    for place in (cells, kept):
        if place and is_artifact(place, "cells") and read_manifest(place).fingerprint == named:
            return place
    return segment_images(items, root, finder, cells, work=work / "pieces", inputs=inputs, **engine)


def open_plan(
    path: str | Path, *, bank: str | Path | None = None, root: str | Path | None = None
) -> tuple[Plan, CellBank]:
    """Open a plan and the bank that it was drawn from.

    ``InputError`` if there is nothing at ``path``, or no bank beside it; ``ArtifactError`` if it
    holds no plan.

    Parameters
    ----------
    path
        A ``plan`` artifact, or a folder that holds one as ``plan/``: composites or a study.
    bank
        The bank artifact; by default ``bank/`` beside the plan or in the same study.
    root
        Where the bank's images are now, if they have moved.
    """
    source = named(path, _NEEDS_PLAN)
    found = source.find("plan")
    if found is None:
        raise source.refused(f"{_NEEDS_PLAN}; write one with: naturalize compose SOURCE -o {path}")
    plan = Plan.load(found)
    if bank is None:
        bank = laboratory_of(plan, found)
    if bank is None:
        places = [found / "bank", found.parent / "bank", found.parent.parent / "bank"]
        bank = next((p for p in places if is_artifact(p, "bank")), None)
    if bank is None:
        raise InputError(
            f"{found}: no bank beside this plan; name the one it was drawn from: --bank"
        )
    return plan, CellBank.load(bank, root=root)


def laboratory_of(plan: Plan, path: Path) -> Path | None:
    """Return the bank of another laboratory that a plan at ``path`` was drawn from, if any."""
    for place in (path / "laboratory", path.parent / "laboratory"):
        if is_artifact(place, "bank") and read_manifest(place).fingerprint == plan.bank:
            return place
    return None
