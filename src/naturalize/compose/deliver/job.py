"""What all writers share: one artifact, one folder for work that survives a kill, one painter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from naturalize.base import engine
from naturalize.base.artifacts import read_json, write_bytes, writing
from naturalize.base.errors import os_errors_named
from naturalize.base.shards import Pieces, resumable_pieces
from naturalize.compose.deliver.annotation import KnownOfPlan
from naturalize.compose.deliver.files import (
    FORMATS,
    check_format,
    check_plan,
    image_bytes,
    save_plan,
)
from naturalize.compose.deliver.truth import Truth, truth
from naturalize.compose.draw.images import check_sources
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.sizes import Size, asked_size
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

T = TypeVar("T")

#: Recipes whose rows make a finished piece.
_PIECE = 256

#: What a run may leave in its work folder.
_LEFT = ("images", "masks", "pieces", "scenes", "shards", "crops", "known")


@dataclass(frozen=True)
class Painter:
    """Paints recipes as files; sent to workers.

    Attributes
    ----------
    store, known
        The cells, and what is known of them; ``known`` only where the truth is asked for.
    format, quality, size
        As for the writers.
    """

    store: CropStore
    known: KnownOfPlan | None
    format: str
    quality: int
    size: tuple[int, int] | None

    def image(self, recipe: Recipe) -> bytes:
        """Return a composite as the bytes of a file."""
        return image_bytes(
            recipe, self.store, format=self.format, quality=self.quality, size=self.size
        )

    def truth(self, recipe: Recipe) -> Truth:
        """Return the truth about a composite."""
        return truth(recipe, self.store, known=self.known, size=self.size)

    def name(self, recipe: Recipe) -> str:
        """Return where a composite is, below ``images/``."""
        return f"{recipe.label}/{recipe.recipe_id}{FORMATS[self.format]}"


@dataclass(frozen=True)
class Job:
    """A rendering under way.

    Attributes
    ----------
    plan, painter
        What is painted, and how.
    folder
        The artifact as it grows.
    work
        For finished pieces.
    key
        Names what is made; pieces of another key are not taken.
    """

    plan: Plan
    painter: Painter
    folder: Path
    work: Path
    key: str
    run: Mapping[str, Any]

    def each(
        self, paint: Callable[[Recipe], T], rows: Iterable[int], *, n: int, what: str | None = None
    ) -> Iterator[T]:
        """Yield ``paint(recipe)`` for the recipes ``rows``, ``n`` in number, in that order."""
        recipes = (self.plan.recipe(int(i)) for i in rows)
        workers = self.run["workers"] or engine.available_cpus()
        chunk = min(16, max(1, n // (4 * workers)))  # a short plan is shared out too
        return engine.map(
            paint, recipes, chunk=chunk, what=what, total=n, name=_recipe_name, **self.run
        )

    def tables(self, paint: Callable[[Recipe], pa.Table], schema: pa.Schema) -> Pieces:
        """Return the rows that ``paint(recipe)`` gives for all recipes; finished pieces stay."""
        n = len(self.plan)
        return resumable_pieces(
            self.work / "pieces",
            self.key,
            range(n),
            lambda rows: self.each(paint, rows, n=n),
            schema,
            piece=_PIECE,
            what="render",
        )


@contextmanager
def rendering(
    writer: str,
    plan: Plan,
    bank: CellBank,
    out: str | Path,
    *,
    format: str,
    quality: int,
    size: Size,
    truth: bool,
    lineage: Mapping[str, Any] | None,
    work: str | Path | None,
    backend: str,
    workers: int | None,
    also: Callable[[Path], None] | None = None,
    **settings: Any,
) -> Iterator[Job]:
    """Give a job; what it leaves in its folder becomes the ``images`` artifact ``out``.

    Parameters
    ----------
    writer
        Its name.
    truth
        Whether the truth will be asked for.
    **settings
        Of this writer: what else decides the content.
    plan, bank, out, format, quality, size, lineage, work, backend, workers, also
        As for the writers.
    """
    check_format(format, quality)
    check_plan(plan)
    out, asked = Path(out), asked_size(size)
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    said = {
        "writer": writer,
        "format": format,
        "quality": quality if format == "jpeg" else None,
        "size": list(asked) if asked else None,
        **settings,
    }
    inputs = {"plan": plan.fingerprint}
    run: dict[str, Any] = {"backend": backend, "workers": workers}

    def same_source(old: Path) -> bool:
        return read_json(old / "plan" / "plan.json").get("bank") == plan.bank

    made = writing(out, "images", settings=said, inputs=inputs, same_source=same_source)
    with os_errors_named(out), made as folder:
        key = _claim(work, {**said, **inputs})
        check_sources(bank, plan.parents())
        store = CropStore.build(plan, bank, work / "crops", size=asked, **run)
        known = None
        if truth:
            known = KnownOfPlan.build(plan, bank, work / "known", work=work / "scenes", **run)
        painter = Painter(store, known, format, quality, asked)
        yield Job(plan, painter, folder, work, key, run)
        save_plan(plan, folder / "plan", bank, lineage or {}, inputs={"bank": plan.bank})
        if also is not None:
            also(folder)
    shutil.rmtree(work, ignore_errors=True)


def _claim(work: Path, key: Mapping[str, Any]) -> str:
    """Make ``work`` ours; what a run of another plan or format left there is thrown away."""
    stamp = work / "key.json"
    wanted = json.dumps(key)
    if not (stamp.is_file() and stamp.read_text() == wanted):
        for name in _LEFT:
            shutil.rmtree(work / name, ignore_errors=True)
        write_bytes(stamp, wanted.encode())
    return wanted


def _recipe_name(recipe: Recipe) -> str:
    return f"recipe {recipe.recipe_id} of class {recipe.label}"
