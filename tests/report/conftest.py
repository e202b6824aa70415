"""A complete study folder for the tests of the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from report_study import build_study, rewritten, write_images

from naturalize.base.artifacts import read_json, write_json


@pytest.fixture(scope="session")
def built_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study folder; read only (use ``study`` for a copy)."""
    base = tmp_path_factory.mktemp("report")
    write_images(base / "images")
    build_study(base / "study", base / "images")
    return base / "study"


@pytest.fixture
def study(built_study: Path, tmp_path: Path) -> Path:
    """A copy of the complete study folder, to be spoilt at will."""
    return Path(shutil.copytree(built_study, tmp_path / "study"))


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """Change keys of a JSON file in place: ``edit_json(path, key=value)``."""

    def edit(path: Path, **changes: object) -> None:
        write_json(path, {**read_json(path), **changes})
        rewritten(path)

    return edit
