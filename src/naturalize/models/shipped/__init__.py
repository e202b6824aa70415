"""Models that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from naturalize.base.artifacts import is_artifact
from naturalize.base.errors import ArtifactError, closest

_HERE = Path(__file__).parent

#: The model that is used where none is named.
DEFAULT = "pbc11"


def names() -> list[str]:
    """Return the names of the models that came with the package."""
    return sorted(path.name for path in _HERE.iterdir() if is_artifact(path, "model"))


def folder_of(model: str | Path) -> Path | None:
    """Return the folder of a model, which a path or the name of a shipped one says, or null.

    A folder of that name in the current directory goes first.
    """
    if Path(model).is_dir():
        return Path(model)
    return _HERE / str(model) if str(model) in names() else None


def find(model: str | Path) -> Path:
    """Return what :func:`folder_of` does; ``ArtifactError`` that names those shipped, if null."""
    found, shipped = folder_of(model), names()
    if found is None:
        raise ArtifactError(
            f"{model}: no such model folder{closest(str(model), shipped)}; shipped with the "
            f"package: {', '.join(shipped) or 'none'}"
        )
    return found
