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


def find(model: str | Path) -> Path:
    """Return the folder of a model: of a shipped one by its name, else the path itself.

    A folder of that name in the current directory goes first.

    Raises
    ------
    ArtifactError
        If it is neither; the message names the models that are shipped.
    """
    path = Path(model)
    if path.is_dir():
        return path
    shipped = names()
    if str(model) in shipped:
        return _HERE / str(model)
    raise ArtifactError(
        f"{model}: no such model folder{closest(str(model), shipped)}; shipped with the package: "
        f"{', '.join(shipped) or 'none'}"
    )
