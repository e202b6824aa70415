"""Open what training reads: from a study folder, or from artifacts named one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import read_manifest
from naturalize.base.errors import ArtifactError, InputError, SettingsError
from naturalize.cells.bank import CellBank
from naturalize.compose.recipe.plan import Plan
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.inputs.compose import laboratory_of
from naturalize.inputs.kind import named

_NEEDS = "a study folder, a catalog or labelled images"


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, and name → fingerprint of each.

    ``laboratory``: the bank of a plan whose composites stand in another laboratory's images; it
    lies beside the plan.

    ``new``: catalog and split were made of labelled images, and lie nowhere yet.
    """

    catalog: Catalog
    split: Split
    plan: Plan | None
    bank: CellBank | None
    inputs: dict[str, str]
    new: bool = False
    laboratory: CellBank | None = None

    def keep(self, folder: Path) -> None:
        """Leave a new catalog and split in ``folder``, as a study has them."""
        if self.new:
            self.catalog.save(folder / "catalog")
            self.split.save(folder / "split")


def open_data(
    source: Path | None = None,
    *,
    catalog: Path | None = None,
    split: Path | None = None,
    plan: Path | None = None,
    bank: Path | None = None,
    root: Path | None = None,
    composites: bool = False,
    masks: bool = False,
    seed: int = 0,
    **reading: Any,
) -> TrainingData:
    """Open catalog, split and, with ``composites``, plan and bank.

    ``SettingsError`` if something that is needed was not named; ``ArtifactError`` if something is
    no such artifact, or the split is of another catalog.

    Parameters
    ----------
    source
        A study folder, whose ``catalog``, ``split``, ``plan`` and ``bank`` are taken unless named;
        a catalog; or labelled images, of which a catalog and a split are made.
    seed, reading
        Of labelled images: the seed of their split, and how :meth:`Catalog.build` reads them.
    root
        Where the images are now, if they have moved.
    masks
        The bank is needed for the masks of cells.
    """
    given = {"catalog": catalog, "split": split, "plan": plan, "bank": bank}
    if source is not None:
        there = named(source, _NEEDS)
        if not (source.is_dir() or there.labelled):
            raise there.refused(_NEEDS)
        given = {name: path or there.find(name) for name, path in given.items()}
        if there.labelled and not any(given.values()) and not (composites or masks):
            made = Catalog.build(source, **reading)
            divided = _divided(made, seed)
            prints = {"catalog": made.fingerprint, "split": divided.fingerprint}
            return TrainingData(made, divided, None, None, prints, new=True)
    needed = ["catalog", "split", *(["plan"] if composites else [])]
    needed += ["bank"] if composites or masks else []
    absent = [name for name in needed if given[name] is None]
    if absent:
        where = f"{source}: holds no" if source is not None else "no"
        options = " ".join(f"--{name} FOLDER" for name in absent)
        raise SettingsError(f"{where} {' and '.join(absent)}; name it with {options}")
    paths = {name: path for name, path in given.items() if path is not None and name in needed}
    inputs = {name: read_manifest(path, name).fingerprint for name, path in paths.items()}
    opened = Catalog.load(paths["catalog"], root=root)
    parts = Split.load(paths["split"])
    if parts.catalog and parts.catalog != opened.fingerprint:
        raise ArtifactError(
            f"{paths['split']}: was made from another catalog than {paths['catalog']}; split again"
        )
    cells = CellBank.load(paths["bank"], root=root) if "bank" in paths else None
    if cells is not None and cells.holds == "laboratory":
        raise SettingsError(
            f"{paths['bank']}: is the bank of another laboratory; name that of the training images "
            "(the other one is found beside the plan)"
        )
    composed = Plan.load(paths["plan"]) if "plan" in paths else None
    place = laboratory_of(composed, paths["plan"]) if composed is not None else None
    laboratory = CellBank.load(place) if place is not None else None
    return TrainingData(opened, parts, composed, cells, inputs, laboratory=laboratory)


def _divided(catalog: Catalog, seed: int) -> Split:
    """Split labelled images; parts that the source itself names are kept."""
    parts = catalog.parts()
    if parts and not {"train", "val"} <= set(parts):
        raise InputError(
            f"{catalog.root}: names the parts {', '.join(sorted(parts))}; training needs train and "
            "val: add a part val, or make the split with naturalize catalog and naturalize split"
        )
    return Split.build(catalog, seed=seed, conflicts="drop", use="given" if parts else "random")
