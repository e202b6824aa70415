"""Fixtures shared by all tests: where the real images are, and a small phantom made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# several workers share the processors: threads that spin while they wait take each other's time
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of development data (``pbc/``, ``masks/``, …); skips where it is absent."""
    root = Path(os.environ.get("NATURALIZE_DATA", _REPO.parent / "shared" / "data"))
    if not (root / "pbc").is_dir():
        pytest.skip(f"real images not found in {root}; set NATURALIZE_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 11 classes × 6 images, made once a session; read only."""
    from naturalize.dataset.phantom import write_phantom

    out = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(out, per_class=6, seed=11)
    return out
