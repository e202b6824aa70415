"""The training images of a model, where they are at hand."""

from __future__ import annotations

from pathlib import Path

from naturalize.base.console import say
from naturalize.explain.neighbours import Training
from naturalize.inputs.labelled import labelled_data


def study_of(model: str | Path) -> Path | None:
    """Return the study folder that a model folder lies in (``STUDY/models/RUN``), else null."""
    study = Path(model).resolve().parent.parent
    there = Path(model).resolve().parent.name == "models"
    return study if there and (study / "catalog").is_dir() and (study / "split").is_dir() else None


def training_cells(source: Path | None) -> Training | None:
    """Return the training images of a study folder, or the labelled images of another source.

    Null, with a remark, where there is no source. ``InputError`` if it holds none.
    """
    if source is None:
        say(
            "the model does not lie in a study folder: no nearest training cells (name the study, "
            "or its labelled training images, with --training)"
        )
        return None
    data = labelled_data(source, part="train")
    return Training.drawn(data.root, data.items)
