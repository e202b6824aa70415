"""What was done to pixels before they are compared: the same to real images and to composites.

One more decode and re-encode alone is detected at an AUC of about 0.9. A composite is painted with
pixels decoded from JPEG files, so it is compared, as painted, with images as decoded; or both are
sent through the same encoder once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import SettingsError
from naturalize.compose.deliver.dataset import resized
from naturalize.compose.paint.crops import CropStore
from naturalize.compose.paint.render import finished, render_unfinished
from naturalize.compose.paint.sizes import asked_size
from naturalize.compose.recipe.recipe import Finish, Recipe
from naturalize.realism.settings import QUALITY, check_history

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank


@dataclass(frozen=True)
class History:
    """A history of encoding."""

    #: ``"lossless"``: real images as decoded, composites as painted, without their finish.
    #: ``"jpeg"``: both sent through one JPEG encoder and back.
    name: str = "lossless"
    #: Of that encoder; null for lossless.
    quality: int | None = None
    #: Side in pixels at which all are compared: real images shrunk by area means, composites
    #: composed at that size. Null: as large as they are.
    size: int | None = None

    def __post_init__(self) -> None:
        check_history(self.name, self.size)
        if (self.name == "jpeg") != (self.quality is not None):
            raise SettingsError("history: a quality belongs to jpeg, and to jpeg only")

    @classmethod
    def of(cls, name: str, recipes: Sequence[Recipe], size: int | None = None) -> History:
        """Return the history by name; the quality is the recipes' own, or 95."""
        if name != "jpeg":
            return cls(name, size=size)
        own = Counter(r.finish.quality for r in recipes if r.finish.codec == "jpeg")
        return cls(name, own.most_common(1)[0][0] if own else QUALITY, size)

    def image(self, image: np.ndarray) -> np.ndarray:
        """Return a decoded image, RGB uint8 (H, W, 3), after this history."""
        coded = finished(image, Finish("jpeg", self.quality)) if self.quality else image
        return resized(coded, asked_size(self.size))

    def report(
        self, recipes: Sequence[Recipe], encoders: dict[str, dict[str, int]]
    ) -> dict[str, Any]:
        """Return what ``realism.json`` says of it, with the files that either side comes from."""
        finishes = Counter(f"{r.finish.codec} {r.finish.quality or ''}".strip() for r in recipes)
        again = f"then through JPEG {self.quality}" if self.quality else "not encoded again"
        square = f"{self.size} × {self.size} pixels"
        return {
            "used": self.name,
            "quality": self.quality,
            "size": self.size,
            "real": f"decoded files, {again}" + (f", shrunk to {square}" if self.size else ""),
            "composites": "painted "
            + (f"at {square} " if self.size else "")
            + f"with pixels of decoded files, {again}",
            "finish_of_the_plan": dict(sorted(finishes.items())),
            "files": encoders,
            "alike": _alike(encoders),
        }


def paint(
    recipes: Sequence[Recipe],
    bank: CellBank,
    history: History,
    *,
    what: str = "paint composites",
    **run: Any,
) -> list[np.ndarray]:
    """Return composites after a history, whatever their own finish says: RGB uint8 (H, W, 3) each.

    Their cells are cut out first, by many workers (``run``: the engine's backend and workers);
    painting them is quick.
    """
    from naturalize.compose.recipe.plan import Plan

    with TemporaryDirectory(prefix="naturalize-realism-") as folder:
        store = CropStore.build(
            Plan.of(recipes, bank=bank.fingerprint),
            bank,
            Path(folder) / "crops",
            what=f"cut cells to {what}",
            size=history.size,
            **run,
        )
        return [
            history.image(render_unfinished(one, store, size=history.size))
            for one in track(recipes, what)
        ]


def _alike(encoders: dict[str, dict[str, int]]) -> bool:
    """Return whether parents were encoded as the real images were, but for one file in twenty."""
    real, parents = encoders.get("real", {}), encoders.get("parents", {})
    strange = sum(n for name, n in parents.items() if name not in real)
    return strange <= 0.05 * max(sum(parents.values()), 1)
