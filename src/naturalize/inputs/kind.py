"""What did the user name? Decided once, for every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import KINDS, MANIFEST, is_artifact, read_manifest
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.images import IMAGE_SUFFIXES
from naturalize.base.table import SUFFIXES
from naturalize.base.walk import IMAGE_KINDS, shown
from naturalize.dataset.catalog import Catalog

#: Artifacts that a study folder holds under their own names.
PARTS = ("catalog", "split", "cells", "bank", "plan")


@dataclass(frozen=True)
class Named:
    """Something that a user named, and what it is.

    ``kind`` is the kind of an artifact, or ``"study"`` (a folder that holds artifacts under their
    names), ``"folder"``, ``"image"``, ``"table"``, ``"archive"`` or ``"file"``.
    """

    path: Path
    kind: str

    def find(self, kind: str) -> Path | None:
        """Return the artifact of a kind: the one that is named, or the one that lies in it."""
        inside = self.path / kind
        return self.path if self.kind == kind else inside if is_artifact(inside, kind) else None

    @property
    def labelled(self) -> bool:
        """Whether it may be labelled images that no catalog was made of yet."""
        return self.kind in ("folder", "table", "archive", *IMAGE_KINDS)

    def catalog(self, needs: str, root: str | Path | None, **reading: Any) -> Catalog:
        """Return the catalog that is named or lies in it, or one of labelled images."""
        if found := self.find("catalog"):
            return Catalog.load(found, root=root)
        if not self.labelled:
            raise self.refused(needs)
        return Catalog.build(self.path, **reading)

    def refused(self, needs: str) -> ArtifactError:
        """Return the error that says what this is, and what a command needs instead."""
        what = {
            "study": "a study folder",
            "folder": "a folder without results of naturalize",
            "archive": "an archive",
        }
        is_ = what.get(self.kind) or (str(KINDS[self.kind]) if self.kind in KINDS else "a file")
        return ArtifactError(f"{self.path}: is {is_}; name {needs}")


def named(path: str | Path, needs: str) -> Named:
    """Return what is at ``path``; ``InputError`` if nothing is there.

    ``needs`` says what the command needs, as words that follow "name".
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{shown(path)}: no such folder or file; name {needs}")
    if path.is_dir():
        return Named(path, _kind_of_folder(path))
    suffix = path.suffix.lower()
    kinds = {"image": IMAGE_SUFFIXES, "table": SUFFIXES, "archive": (".npz",)}
    return Named(path, next((kind for kind, ends in kinds.items() if suffix in ends), "file"))


def _kind_of_folder(path: Path) -> str:
    if (path / MANIFEST).is_file():
        return read_manifest(path).kind
    return "study" if any(is_artifact(path / part, part) for part in PARTS) else "folder"
