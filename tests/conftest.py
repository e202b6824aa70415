"""Fixtures shared by all tests: where the real images are, and a small phantom made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# several workers share the processors: one thread each, and none that spins while it waits, or they
# take each other's time
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

_REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of development data (``pbc/``, ``masks/``, …); skips where it is absent."""
    # beside the repository, or beside a folder that it is checked out in, as CI does
    places = [place / "shared" / "data" for place in (_REPO, *_REPO.parents)]
    if named := os.environ.get("NATURALIZE_DATA"):
        places = [Path(named)]
    for root in places:
        if (root / "pbc").is_dir():
            return root
    pytest.skip(f"real images not found in {places[0]}; set NATURALIZE_DATA to their folder")


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of 11 classes × 6 images, made once a session; read only."""
    from naturalize.dataset.phantom import write_phantom

    out = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(out, per_class=6, seed=11)
    return out
