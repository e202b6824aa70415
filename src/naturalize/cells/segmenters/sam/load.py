"""From a name or a path to a model that can be prompted; the last one stays in memory."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from naturalize.base.engine import available_cpus
from naturalize.base.errors import SettingsError, closest
from naturalize.cells.segmenters.sam.model import Model
from naturalize.cells.segmenters.sam.published import PUBLISHED
from naturalize.cells.segmenters.sam.weights import WeightsError, find


@dataclass(frozen=True)
class LocatedWeights:
    """Weights on this machine.

    ``family``: ``"onnx"``, ``"transformers"`` (a folder), ``"sam"``, ``"mobilesam"`` or ``"sam2"``
    (official checkpoints); ``path``: the folder, or the checkpoint; ``identity``: 16 hexadecimal
    digits naming their bytes.
    """

    family: str
    path: Path
    identity: str


def locate(weights: str) -> LocatedWeights:
    """Return where ``weights``, a published name or a path, are.

    Raises ``MissingWeightsError`` if the published weights are not on this machine; names the
    command that gets them; ``SettingsError`` if it is neither a published name nor a path;
    ``WeightsError`` if the path holds no such weights.
    """
    if weights in PUBLISHED:
        published, folder = PUBLISHED[weights], find(weights)
        path = folder if len(published.files) > 1 else folder / published.files[0].name
        sums = "".join(file.sha256 for file in published.files)
        return LocatedWeights(
            published.family, path, hashlib.sha256(sums.encode()).hexdigest()[:16]
        )
    path = Path(weights).expanduser()
    if not path.exists():
        raise SettingsError(
            f"weights {weights!r}: neither a file or folder nor a published name"
            f"{closest(weights, list(PUBLISHED))}; published: {', '.join(PUBLISHED)}"
        )
    if path.is_file():
        return LocatedWeights(_family_of(path), path, _digest((path,)))
    for family, names in _FOLDERS.items():
        files = tuple(path / name for name in names)
        if all(file.is_file() for file in files):
            return LocatedWeights(family, path, _digest(files))
    wanted = " nor ".join(" and ".join(names) for names in _FOLDERS.values())
    raise WeightsError(f"{path}: holds neither {wanted}")


#: What a folder of weights holds.
_FOLDERS = {
    "onnx": ("encoder.onnx", "sam.onnx"),
    "transformers": ("config.json", "model.safetensors"),
}


def _family_of(path: Path) -> str:
    """Return the family of an official checkpoint by its file's name."""
    name = path.name.lower()
    if path.suffix.lower() in (".pt", ".pth"):
        for start, family in (("sam2", "sam2"), ("mobile_sam", "mobilesam"), ("sam_vit_", "sam")):
            if name.startswith(start):
                return family
    raise WeightsError(
        f"{path}: expected an official checkpoint under its own name (sam_vit_b_01ec64.pth, "
        "mobile_sam.pt, sam2.1_hiera_tiny.pt, …) or a folder of weights"
    )


def _digest(paths: tuple[Path, ...]) -> str:
    facts = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)
    return _digest_of(facts)


@lru_cache(maxsize=16)
def _digest_of(facts: tuple[tuple[str, int, int], ...]) -> str:
    sums = ""
    for path, _, _ in facts:
        with Path(path).open("rb") as file:
            sums += hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(sums.encode()).hexdigest()[:16]


def loaded(weights: str, threads: int | None = None) -> Model:
    """Return the model of ``weights``; the last one is kept in memory."""
    return _loaded(locate(weights), threads or _usual_threads())


@lru_cache(maxsize=1)
def _loaded(source: LocatedWeights, threads: int) -> Model:
    if source.family == "onnx":
        from naturalize.cells.segmenters.sam.onnx import OnnxPair

        return OnnxPair(source.path, threads=threads)
    from naturalize.cells.segmenters.sam.checkpoints import load_checkpoint

    return load_checkpoint(source.family, source.path, threads=threads)


def _usual_threads() -> int:
    if multiprocessing.parent_process() is not None:
        return 1  # a worker among others
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else available_cpus()
