"""The kinds of artifacts: what each is, what writes it, and the version of its format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: what it is to its reader, what writes it, and its version.

    A change of any table or file of a kind raises its version.
    """

    what: str
    command: str
    version: int = 1

    def __str__(self) -> str:
        return f"{self.what} written by `naturalize {self.command}`"


#: The kinds of artifacts, as in ``docs/formats.md``.
KINDS = {
    "annotation": Kind("a store of annotations", "compose --masks"),
    "audit": Kind("an audit", "catalog"),
    "backgrounds": Kind("a folder of backgrounds", "background"),
    "bank": Kind("a bank of cells", "bank"),
    "catalog": Kind("a catalog", "catalog"),
    "cells": Kind("a folder of cells", "segment"),
    "crops": Kind("a store of crops", "compose"),
    "evaluation": Kind("an evaluation", "evaluate"),
    "explanation": Kind("an explanation", "explain"),
    "export": Kind("an export of cells", "cells export"),
    "images": Kind("a folder of composites", "compose --write"),
    "model": Kind("a model", "train"),
    "observer-sheet": Kind("a sheet for observers", "realism --sheet"),
    "phantom": Kind("a phantom", "phantom"),
    "plan": Kind("a plan of composites", "compose"),
    "realism": Kind("a realism report", "realism"),
    "split": Kind("a split", "split"),
}


def version_of(kind: str) -> int:
    """Return the format version of an artifact kind."""
    return KINDS[kind].version if kind in KINDS else 1
