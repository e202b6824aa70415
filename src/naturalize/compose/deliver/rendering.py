"""What all writers share: settings, one artifact, a folder for work that survives a kill."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from naturalize.base import engine
from naturalize.base.artifacts import link_file
from naturalize.base.errors import unknown
from naturalize.base.settings import Settings
from naturalize.base.shards import Pieces, resumable_pieces
from naturalize.compose.deliver.annotation import PlanAnnotation
from naturalize.compose.deliver.files import FORMATS, image_bytes
from naturalize.compose.deliver.truth import Truth, truth
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.sizes import asked_size
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

T = TypeVar("T")

#: Recipes whose rows make a finished piece.
_PIECE = 256


def _format(name: str) -> str:
    if name not in FORMATS:
        raise unknown("format", name, list(FORMATS))
    return name


class Writer(Settings):
    """Renders a plan to disk. A writer is a class of its own: ``name``, settings, :meth:`fill`."""

    model_config = ConfigDict(strict=True)

    name: ClassVar[str] = ""

    #: ``"jpeg"`` or ``"png"``; of JPEG files, where the recipe's own finish names none. A recipe
    #: that ends in a JPEG is encoded once: its file decodes to just what
    #: :func:`~naturalize.compose.paint.render.render` gives.
    format: Annotated[str, AfterValidator(_format)] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    #: Side of a square, or width and height: compose at that size, as for ``render``.
    size: Annotated[tuple[int, int] | None, BeforeValidator(asked_size)] = None
    #: Write which cell is seen at each pixel as well.
    masks: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the content of the artifact: JSON values."""
        quality = self.quality if self.format == "jpeg" else None
        return {"writer": self.name, **self.model_dump(mode="json"), "quality": quality}

    def check(self, plan: Plan, bank: CellBank) -> None:
        """Raise ``InputError`` or ``SettingsError`` for a plan that it cannot write."""

    @abstractmethod
    def fill(self, job: Rendering) -> None:
        """Write the content of ``job.plan`` to ``job.folder``."""


@dataclass(frozen=True)
class Painter:
    """Paints recipes as files; sent to workers."""

    #: The cells, and what they are; ``annotation`` only where the truth is asked for.
    store: CropStore
    annotation: PlanAnnotation | None
    writer: Writer  # format, quality and size

    def image(self, recipe: Recipe) -> bytes:
        """Return a composite as the bytes of a file."""
        about = self.writer
        return image_bytes(
            recipe, self.store, format=about.format, quality=about.quality, size=about.size
        )

    def truth(self, recipe: Recipe) -> Truth:
        """Return the truth about a composite."""
        return truth(recipe, self.store, annotation=self.annotation, size=self.writer.size)

    def name(self, recipe: Recipe) -> str:
        """Return where a composite is, below ``images/``."""
        return f"{recipe.label}/{recipe.recipe_id}{FORMATS[self.writer.format]}"


@dataclass(frozen=True)
class Rendering:
    """A rendering under way."""

    #: What is painted, from what, and how.
    plan: Plan
    bank: CellBank
    painter: Painter
    folder: Path
    work: Path  # for finished pieces
    key: str  # names what is made; pieces of another key are not taken
    run: Mapping[str, Any]  # ``backend`` and ``workers``

    def each(
        self, paint: Callable[[Recipe], T], rows: Iterable[int], *, n: int, what: str | None = None
    ) -> Iterator[T]:
        """Yield ``paint(recipe)`` for the recipes ``rows``, ``n`` in number, in that order."""
        recipes = (self.plan.recipe(int(i)) for i in rows)
        workers = self.run["workers"] or engine.available_cpus()
        chunk = min(16, max(1, n // (4 * workers)))  # so that a short plan keeps all workers busy
        return engine.map(
            paint, recipes, chunk=chunk, what=what, total=n, name=recipe_name, **self.run
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

    def place(self, *, masks: bool = False) -> None:
        """Bring just the files of the plan from :attr:`work` to their places."""
        for recipe in self.plan:
            image = Path("images", self.painter.name(recipe))
            link_file(self.work / image, self.folder / image)
            if masks:
                mask = Path("masks", *image.parts[1:]).with_suffix(".png")
                link_file(self.work / mask, self.folder / mask)


def recipe_name(recipe: Recipe) -> str:
    """Return what messages call a recipe."""
    return f"recipe {recipe.recipe_id} of class {recipe.label}"
