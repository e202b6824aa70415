"""What recipes do not say about cells: their classes, and the cells that scenes bring along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import (
    fingerprint,
    is_artifact,
    read_json,
    read_manifest,
    write_json,
    writing,
)
from naturalize.base.display import rows_of
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import content_hash
from naturalize.base.shards import resumable_pieces
from naturalize.compose.paint.scenes import REMOVALS, Scenes, image_of
from naturalize.imaging.runlength import decode, encode

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: Columns of ``scenes.arrow``: a row a cell of a scene, in painting order.
SCENE_CELLS = pa.schema(
    [
        ("background_id", pa.string()),
        ("cell_id", pa.string()),
        ("kind", pa.string()),
        ("label", pa.string()),
        *((name, pa.int32()) for name in ("x0", "y0", "x1", "y1")),
        ("mask", pa.list_(pa.uint32())),
    ]
)

#: From the lowest to the topmost: where two of a scene overlap, the later one is seen.
_ORDER = ("rbc", "platelet", "wbc")

_KIND = "annotation"


@dataclass(frozen=True, eq=False)
class SceneCell:
    """A cell that a scene brings along."""

    #: As in the bank; the label is null unless it is the cell that its image's label speaks of.
    cell_id: str
    kind: str
    label: str | None
    #: ``x0, y0, x1, y1`` in the scene before any turn, half-open pixels.
    box: tuple[int, int, int, int]
    mask: np.ndarray  # bool (y1 − y0, x1 − x0)


class Annotation(Protocol):
    """Says the class of a cell, and which cells a scene shows."""

    def label(self, cell_id: str) -> str | None:
        """Return the class of a cell; null for one that no image's label speaks of."""

    def scene(self, background_id: str) -> Sequence[SceneCell]:
        """Return the cells that a scene still shows, from the lowest to the topmost."""


class BankAnnotation:
    """The annotation of a bank, looked up when asked for; the last few scenes are kept."""

    def __init__(self, bank: CellBank) -> None:
        self.bank = bank
        self._of_scene = lru_cache(maxsize=16)(partial(_scene_cells, bank))

    def label(self, cell_id: str) -> str | None:
        """Return the class of a cell."""
        return self.bank.row(cell_id)["label"]

    def scene(self, background_id: str) -> Sequence[SceneCell]:
        """Return the cells that a scene still shows."""
        return self._of_scene(background_id)


class PlanAnnotation:
    """The annotation of the cells and scenes of a plan, mapped from a folder; pickles to its name.

    Use :meth:`build`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        read_manifest(self.folder, _KIND)
        self._labels: dict[str, str] = read_json(self.folder / "labels.json")
        file = self.folder / "scenes.arrow"
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{file}: cannot be mapped ({error}); make it again") from error
        self._rows: dict[str, list[int]] = {}
        for row, name in enumerate(self._table["background_id"].to_pylist()):
            self._rows.setdefault(name, []).append(row)
        self._scenes = set(read_json(self.folder / "scenes.json"))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _opened, (str(self.folder),)

    @classmethod
    def build(
        cls,
        plan: Plan,
        bank: CellBank,
        folder: str | Path,
        *,
        work: str | Path,
        backend: str = "serial",
        workers: int | None = None,
    ) -> PlanAnnotation:
        """Write the annotation of the cells of ``plan`` to ``folder`` and open it.

        ``plan``, ``bank``: the recipes and their cells; ``folder``: where it goes; what already
        stands there for the same plan is opened as it is; ``work``: folder for finished pieces, so
        that a killed run goes on where it stopped; ``backend``, ``workers``: as for
        :func:`naturalize.base.engine.map`; they change no byte.
        """
        words = plan.columns.words
        used = np.unique(plan.columns.background).tolist()
        scenes = sorted(name for code in used if (name := words.backgrounds[code][0]) is not None)
        cells = [cell_id for cell_id, _, _ in plan.cells()]
        names = content_hash(repr((scenes, cells)).encode())
        settings, inputs = {"of": names}, {"bank": bank.fingerprint}
        key, folder = fingerprint(_KIND, settings, inputs), Path(folder)
        if is_artifact(folder, _KIND) and read_manifest(folder).fingerprint == key:
            return cls(folder)
        rows_of = partial(_scene_rows, bank)
        run: dict[str, Any] = {"backend": backend, "workers": workers, "name": _scene_name}

        def tables(left: Iterable[str]) -> Iterable[pa.Table]:
            return engine.map(rows_of, left, **run)

        made_of = (
            resumable_pieces(Path(work), key, scenes, tables, SCENE_CELLS, what="annotate scenes")
            if scenes
            else ()
        )
        with writing(folder, _KIND, settings=settings, inputs=inputs) as made:
            with pa.ipc.new_file(str(made / "scenes.arrow"), SCENE_CELLS) as writer:
                for piece in made_of:
                    writer.write_table(piece)
            write_json(made / "labels.json", _labels(bank, cells))
            write_json(made / "scenes.json", scenes)
        return cls(folder)

    def label(self, cell_id: str) -> str | None:
        """Return the class of a cell."""
        return self._labels.get(cell_id)

    def scene(self, background_id: str) -> Sequence[SceneCell]:
        """Return the cells that a scene still shows.

        ``InputError`` if the plan has no such scene.
        """
        if background_id not in self._scenes:
            raise InputError(
                f"{self.folder}: no scene {background_id!r} of {len(self._scenes):,}; build it for "
                "this plan"
            )
        rows = self._rows.get(background_id)
        if not rows:
            return []
        part = self._table.slice(rows[0], len(rows)).to_pylist()
        found = []
        for row in part:
            x0, y0, x1, y1 = box = (row["x0"], row["y0"], row["x1"], row["y1"])
            mask = decode(np.array(row["mask"], np.uint32), (y1 - y0, x1 - x0))
            found.append(SceneCell(row["cell_id"], row["kind"], row["label"], box, mask))
        return found


@lru_cache(maxsize=4)
def _opened(folder: str) -> PlanAnnotation:
    return PlanAnnotation(folder)


def _labels(bank: CellBank, cell_ids: Sequence[str]) -> dict[str, str]:
    """Return the classes of those cells that have one."""
    of = dict(rows_of(bank.table, "cell_id", "label"))
    return {cell_id: of[cell_id] for cell_id in cell_ids if of.get(cell_id) is not None}


def _scene_name(background_id: str) -> str:
    return f"scene {background_id}"


def _scene_rows(bank: CellBank, background_id: str) -> pa.Table:
    """Return the cells of a scene as rows of :data:`SCENE_CELLS`."""
    rows = [
        {
            "background_id": background_id,
            "cell_id": cell.cell_id,
            "kind": cell.kind,
            "label": cell.label,
            **dict(zip(("x0", "y0", "x1", "y1"), cell.box, strict=True)),
            "mask": encode(cell.mask),
        }
        for cell in _scene_cells(bank, background_id)
    ]
    return pa.Table.from_pylist(rows, schema=SCENE_CELLS)


def _scene_cells(bank: CellBank, background_id: str) -> list[SceneCell]:
    """Return the cells of a scene, in painting order."""
    image_id, removal = image_of(background_id)
    cells, names = Scenes(bank).cells(image_id), _names(bank, image_id)
    left = list(enumerate(cells))
    if removal is not None:
        from naturalize.restoration.plan import remaining

        left = remaining(bank.image(image_id), cells, remove=REMOVALS[removal])
    found = [SceneCell(names[i][0], c.kind, names[i][1], c.box, c.mask) for i, c in left]
    return sorted(found, key=lambda cell: _ORDER.index(cell.kind))


def _names(bank: CellBank, image_id: str) -> list[tuple[str, str | None]]:
    """Return id and class of the cells of an image, in the order of :meth:`Scenes.cells`."""
    import pyarrow.compute as pc

    here = bank.table.select(["cell_id", "label", "image_id"]).filter(
        pc.field("image_id") == image_id
    )
    return list(rows_of(here, "cell_id", "label"))


def annotation_of(source: object) -> Annotation | None:
    """Return the annotation of a bank; ``None`` for a store of crops, which holds pixels only."""
    from naturalize.cells.bank import CellBank

    if isinstance(source, Scenes):
        return BankAnnotation(source.bank)
    return BankAnnotation(source) if isinstance(source, CellBank) else None
