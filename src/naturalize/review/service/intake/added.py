"""Images that are put into a review: their cells named as those of its beginning were."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from naturalize.base.errors import SettingsError
from naturalize.models.folder import read_config
from naturalize.models.shipped import find
from naturalize.prediction.profile import Profile
from naturalize.review.service.intake.naming import BROKEN, name_cells
from naturalize.review.service.intake.order import in_order
from naturalize.review.service.intake.prepare import PROFILE
from naturalize.review.service.intake.size import sized
from naturalize.review.service.review import Review


@dataclass(frozen=True)
class Added:
    """How many cells were added, and which files were refused, as ``(name, reason)``."""

    cells: int
    refused: list[tuple[str, str]]


def add_files(review: Review, paths: Sequence[Path], progress: Callable[[int, int], None]) -> Added:
    """Name the cells of images below the review's ``uploads/``, and add them: all or none.

    A file that cannot be read is refused by its name, and the others are added. ``progress`` is
    given the number of images that are done, and of all.

    ``SettingsError`` if the model answers classes that the review does not have.
    """
    folder, model = Path(review.folder).absolute(), find(review.settings.model)
    config, profile = read_config(model), None
    if config.classes != tuple(review.classes):
        raise SettingsError(
            f"{review.settings.model}: answers other classes than this review has, so it cannot "
            "name further images of it"
        )
    if (folder / PROFILE).is_file() and config.standard is not None:
        profile = Profile.load(folder / PROFILE, config.standard)
    (folder / "cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder / "cache") as work:
        files = [Path(path).absolute() for path in paths]
        found = name_cells(files, model, Path(work), progress, profile=profile)
    kept, refused = [], []
    for cell in found.cells:
        path = Path(cell.path).relative_to(folder).as_posix()
        if cell.flag.startswith(BROKEN):
            refused.append((Path(path).name, cell.flag.removeprefix(BROKEN)))
        else:
            of_field = None if cell.field is None else path
            taken = Path(cell.path).stat().st_mtime
            kept.append(replace(cell, path=path, field=of_field, taken=taken))
    if kept:
        first = review.progress(1).total  # above every cluster and place that is there
        review.add(in_order(sized(kept, folder), review.classes, first=first))
    return Added(len(kept), refused)
