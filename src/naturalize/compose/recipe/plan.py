"""The plan: recipes that reach the target counts, and the images that their pixels come from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa

from naturalize.base.artifacts import (
    fingerprint,
    read_manifest,
    read_table,
    read_written,
    write_json,
    write_table,
    writing,
)
from naturalize.base.display import html_table
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.compose.recipe.columns import Columns
from naturalize.compose.recipe.recipe import Recipe
from naturalize.compose.recipe.table import OPTIONAL, SCHEMA, from_table, to_table

if TYPE_CHECKING:
    from naturalize.dataset.split import Split

#: Offenders that :func:`check` names one by one.
_NAMED = 20

#: Name of the mode whose composites are whole fields, with many white cells.
FIELD = "field"

#: What ``plan.json`` says of a plan.
_ABOUT = ("mode", "settings", "targets", "seed", "rejections", "reuse", "bank")

#: Columns of :meth:`Plan.by_class`.
BY_CLASS = pa.schema(
    [
        ("label", pa.string()),
        *((name, pa.int64()) for name in ("composites", "cells", "used", "most")),
        ("most_used", pa.string()),
    ]
)


@dataclass(eq=False, repr=False)
class Plan:
    """Recipes, and how they came about. ``len``, indexing and iteration give recipes.

    Attributes
    ----------
    columns
        The recipes.
    mode, settings, seed
        What drew them.
    targets
        Class → number of composites.
    rejections
        What was counted while drawing → how often, such as composites discarded as duplicates.
    reuse
        Class → ``{"cells", "used", "most", "most_used"}``: target cells that the mode can use,
        those that are used, composites with the most used one, and its id.
    bank
        Fingerprint of the bank.
    """

    columns: Columns
    mode: str
    settings: dict[str, Any]
    seed: int
    targets: dict[str, int]
    rejections: dict[str, int] = field(default_factory=dict)
    reuse: dict[str, dict[str, Any]] = field(default_factory=dict)
    bank: str = ""

    @classmethod
    def of(cls, recipes: Sequence[Recipe], *, bank: str = "") -> Plan:
        """Return the plan of recipes made by hand."""
        table = pa.Table.from_pylist([recipe.to_row() for recipe in recipes], schema=SCHEMA)
        modes = sorted({recipe.mode for recipe in recipes})
        targets = dict(sorted(Counter(recipe.label for recipe in recipes).items()))
        return cls(from_table(table), "+".join(modes), {}, 0, targets, bank=bank)

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, i: int) -> Recipe: ...
    @overload
    def __getitem__(self, i: slice) -> list[Recipe]: ...
    def __getitem__(self, i: int | slice) -> Recipe | list[Recipe]:
        """Return a recipe, or a list of them; ``IndexError`` beyond the last."""
        if isinstance(i, slice):
            return [self.recipe(row) for row in range(*i.indices(len(self)))]
        return self.recipe(i)

    def __iter__(self) -> Iterator[Recipe]:
        return (self.recipe(i) for i in range(len(self)))

    @property
    def of_fields(self) -> bool:
        """Whether some composites are whole fields, of which none is about one cell."""
        return FIELD in self.mode.split("+")

    def check_about_one(self, what: str) -> None:
        """Raise ``SettingsError`` if composites are whole fields, for ``what`` needs one cell."""
        if self.of_fields:
            raise SettingsError(
                f"{what}: these composites are whole fields (mode {FIELD}) with white cells of "
                "many classes, and not images of one; compose in another mode, or use the fields "
                "to teach a detector"
            )

    def summary(self) -> str:
        """Say in a few words what this holds; the first line of every display."""
        counts = ", ".join(f"{label} {n:,}" for label, n in self.targets.items() if n)
        return f"{len(self):,} composites, mode {self.mode}, seed {self.seed}: {counts}"

    def __repr__(self) -> str:
        return f"<Plan: {self.summary()}>"

    def by_class(self) -> pa.Table:
        """Return a row a class: ``label``, ``composites``, and what ``reuse`` says of its cells."""
        rows = [
            {"label": label, "composites": n, **self.reuse.get(label, {})}
            for label, n in self.targets.items()
            if n
        ]
        return pa.Table.from_pylist(rows, schema=BY_CLASS)

    def _repr_html_(self) -> str:
        return html_table(self.by_class(), f"Plan: {self.summary()}", rows=50)

    def to_pandas(self) -> Any:
        """Return :attr:`table` as a pandas data frame; pandas has to be installed."""
        return self.table.to_pandas()

    @cached_property
    def ids(self) -> list[str]:
        """The recipe ids, in order."""
        return self.columns.ids()

    @cached_property
    def table(self) -> pa.Table:
        """The rows of ``plan.parquet``, as in ``docs/formats.md``."""
        return to_table(self.columns, self.ids)

    @property
    def fingerprint(self) -> str:
        """16 hex digits naming the content."""
        return fingerprint("plan", self._decides(), {"bank": self.bank})

    def _decides(self) -> dict[str, Any]:
        digest = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()[:16]
        return {
            "mode": self.mode,
            "settings": self.settings,
            "seed": self.seed,
            "targets": self.targets,
            "recipes": digest,
        }

    def recipe(self, i: int) -> Recipe:
        """Return recipe ``i``; ``IndexError`` beyond the last."""
        return self.columns.recipe(i)

    def rows_of(self, label: str) -> np.ndarray:
        """Return the positions of a class's recipes, int64."""
        labels = self.columns.words.labels
        code = labels.index(label) if label in labels else -1
        return np.flatnonzero(self.columns.label == code)

    def cells(self) -> list[tuple[str, str, str]]:
        """Return ``(cell_id, image_id, kind)`` of every cell that is used, sorted."""
        words = self.columns.words
        return sorted({words.cells[code] for code in np.unique(self.columns.cell).tolist()})

    def background_images(self) -> set[str]:
        """Return the ids of the images that scenes come from."""
        codes = np.unique(self.columns.background).tolist()
        found = {self.columns.words.backgrounds[code][1] for code in codes}
        return {image_id for image_id in found if image_id is not None}

    def parents(self) -> set[str]:
        """Return the ids of all images that any pixel comes from."""
        return {image_id for _, image_id, _ in self.cells()} | self.background_images()

    def save(
        self,
        path: str | Path,
        inputs: Mapping[str, str] | None = None,
        *,
        more: Callable[[Path], None] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the plan artifact to ``path``.

        ``inputs``: name → fingerprint of what was read, by default the bank's; ``more`` may add
        files to the folder before it is moved to its place; ``overwrite`` replaces an artifact
        that was made from other cells.
        """
        inputs = {"bank": self.bank} if inputs is None else inputs
        settings = self._decides()
        with writing(path, "plan", settings=settings, inputs=inputs, overwrite=overwrite) as folder:
            write_table(folder / "plan.parquet", self.table)
            write_json(folder / "plan.json", {name: getattr(self, name) for name in _ABOUT})
            if more:
                more(folder)

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Open a plan artifact; ``ArtifactError`` if it is none, or was changed by hand."""
        path = Path(path)
        read_manifest(path, "plan")
        about = read_written(path, "plan.json")
        table = read_table(path / "plan.parquet", SCHEMA, optional=OPTIONAL)
        try:
            made = cls(from_table(table), **{name: about[name] for name in _ABOUT})
        except (KeyError, TypeError, SettingsError) as error:
            raise ArtifactError(f"{path}: damaged plan ({error})") from error
        if made.ids != table["recipe_id"].to_pylist():
            raise ArtifactError(
                f"{path / 'plan.parquet'}: recipes were changed after planning (their ids do not "
                "fit their content); compose again"
            )
        return made


#: The part of images that no split knows: scenes of another laboratory.
LABORATORY = "laboratory"


def check(plan: Plan, split: Split, scenes: Iterable[str] = ()) -> dict[str, Any]:
    """Return how many composites have a parent that is not in the split's train part.

    ``scenes``: ids of another laboratory's images, which may be parents as well; one that is in the
    split's val or test part may not.

    Returns
    -------
    dict
        ``n_composites``, ``n_parents``, ``outside`` (composites with such a parent),
        ``outside_ids`` (the first 20 of them), ``outside_parents`` (``{"image_id", "part"}``, 20 at
        most; the part is null for an image that the split does not know), ``parents_by_part``,
        ``statement``, ``split`` (its hash).
    """
    part_of = {**dict.fromkeys(scenes, LABORATORY), **split.part_of()}
    return {**check_parts(plan, part_of), "split": split.hash}


def check_parts(
    plan: Plan, part_of: Mapping[str, str], *, allowed: str = "train", where: str = "train"
) -> dict[str, Any]:
    """As :func:`check`, for any map from image id to part and any part whose pixels may be used."""
    columns = plan.columns
    part_of_cell = [part_of.get(image_id) for _, image_id, _ in columns.words.cells]
    part_of_ground = [
        allowed if image_id is None else part_of.get(image_id)
        for _, image_id in columns.words.backgrounds
    ]
    may = (allowed, LABORATORY)
    bad_cell = np.array([part not in may for part in part_of_cell], bool)
    bad_ground = np.array([part not in may for part in part_of_ground], bool)
    owner = np.repeat(np.arange(len(columns)), np.diff(columns.offsets))
    bad = bad_ground[columns.background]
    bad |= np.bincount(owner, bad_cell[columns.cell], minlength=len(columns)) > 0
    rows = np.flatnonzero(bad)
    parents = sorted(plan.parents())
    strangers = [image_id for image_id in parents if part_of.get(image_id) not in may]
    n, outside = len(plan), len(rows)
    verb = "has" if outside == 1 else "have"
    kind = f"{allowed}ing composite" if allowed == "train" else "composite"
    return {
        "n_composites": n,
        "n_parents": len(parents),
        "outside": outside,
        "outside_ids": [plan.ids[row] for row in rows[:_NAMED].tolist()],
        "outside_parents": [
            {"image_id": image_id, "part": part_of.get(image_id)} for image_id in strangers[:_NAMED]
        ],
        "parents_by_part": dict(
            sorted(Counter(part_of.get(image_id, "unknown") for image_id in parents).items())
        ),
        "statement": f"{outside:,} of {n:,} {kind}{'' if n == 1 else 's'} {verb} a parent outside "
        f"{where}",
    }
