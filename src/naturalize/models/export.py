"""Give a model folder its graph, so that it predicts without PyTorch."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.base.artifacts import MANIFEST, file_hash, read_manifest, write_bytes, writing
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.config import NetworkConfig
from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import WEIGHTS
from naturalize.models.load import load_model
from naturalize.models.onnx_predictor import GRAPH, OnnxPredictor, open_session
from naturalize.models.shipped import find

if TYPE_CHECKING:
    from naturalize.models.torch_predictor import TorchPredictor

#: The most that a probability may differ between the engines.
MOST_APART = 1e-4

#: Images that both engines are asked: phantoms, and as many of noise.
_EACH = 4


@dataclass(frozen=True)
class Exported:
    """What was written: the model folder, its graphs, and how far the engines are apart.

    ``difference`` is the largest one of any probability of ``images`` test images.
    """

    path: Path
    graphs: tuple[Path, ...]
    difference: float
    images: int


def export_model(path: str | Path, out: str | Path | None = None) -> Exported:
    """Write the graph of a model, of an ensemble those of its members, and check it.

    Parameters
    ----------
    path
        A model folder, or the name of a shipped model.
    out
        Where a copy of it with the graph shall be; by default the graph is written into ``path``
        itself, whose manifest is renewed.

    Raises
    ------
    MissingExtraError
        If the package onnx is not installed.
    SettingsError
        If the network cannot be written as a graph.
    ArtifactError
        If the model folder is damaged, or the graph gives other probabilities; nothing is written.
    """
    shipped = not Path(path).is_dir()
    path = find(path).resolve()
    if shipped and out is None:
        raise SettingsError(f"{path.name} is part of the package: name a folder for a copy (--out)")
    out = path if out is None else Path(out)
    if path in out.resolve().parents:
        raise SettingsError(f"{out}: lies in the model folder itself; write the copy elsewhere")
    images = sample_images()
    differences = _write(path, out, images)
    graphs = tuple(sorted(out.rglob(GRAPH)))
    return Exported(out, graphs, max(differences), len(images))


def _write(path: Path, out: Path, images: list[np.ndarray]) -> list[float]:
    """Write a model folder again, with a graph; return how far the engines are apart."""
    manifest = read_manifest(path, "model")
    members = read_members(path)[1] if is_ensemble(path) else []
    inner = [member.path.relative_to(path) for member in members]
    with writing(out, "model", settings=manifest.settings, inputs=manifest.inputs) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        if inner:
            parts = [_write(folder / place, folder / place, images) for place in inner]
            return [difference for part in parts for difference in part]
        return [_write_graph(path, folder, images)]


def _write_graph(path: Path, folder: Path, images: list[np.ndarray]) -> float:
    from naturalize.models.graph import graph
    from naturalize.models.torch_predictor import TorchPredictor

    module, config = load_model(path)  # which also says whether the weights are whole
    weights = folder / WEIGHTS
    write_bytes(folder / GRAPH, graph(module, config, weights, file_hash(weights)))
    return _difference(folder, TorchPredictor(module, config), config, images)


def _difference(
    folder: Path, predictor: TorchPredictor, config: NetworkConfig, images: list[np.ndarray]
) -> float:
    found = OnnxPredictor(open_session(folder / GRAPH), config).probabilities(images)
    difference = float(np.abs(found - predictor.probabilities(images, batch=4)).max())
    if not difference <= MOST_APART:
        raise ArtifactError(
            f"{folder / GRAPH}: its probabilities differ from PyTorch's by up to {difference:.1e} "
            f"(at most {MOST_APART:.0e} is accepted); nothing was written"
        )
    return difference


def sample_images() -> list[np.ndarray]:
    """Return images to compare engines with: phantoms of some classes, and noise."""
    from naturalize.dataset.phantom import CLASSES, render_phantom

    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 256, (96, 101, 3), dtype=np.uint8) for _ in range(_EACH)]
    return [render_phantom(label, 0, 0).image for label in CLASSES[:_EACH]] + noise
