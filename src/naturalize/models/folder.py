"""Model folders: ``weights.safetensors`` and ``model.json``, never a pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import (
    Manifest,
    file_hash,
    read_json,
    read_manifest,
    write_bytes,
    write_json,
    writing,
)
from naturalize.base.errors import ArtifactError
from naturalize.models.config import NetworkConfig, Standard

if TYPE_CHECKING:
    import torch
    from torch import nn

WEIGHTS, MODEL = "weights.safetensors", "model.json"

#: The graph in a model folder: operations only; its numbers are those of the weights' file.
GRAPH = "network.onnx"

#: Ids of the images of training and validation, one a line.
TRAINING_IMAGES = "training_images.txt"

#: Key of ``model.json`` that an averaging ensemble has, and its folder.
MEMBERS = "members"


def save_model(
    path: str | Path,
    module: nn.Module,
    config: NetworkConfig,
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    protocol: str = "honest",
    settings: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    also: Callable[[Path], None] | None = None,
    half: bool = False,
) -> Path:
    """Write a model folder, whole or not at all.

    Parameters
    ----------
    path
        Where the folder shall be.
    module, config
        The network; its tensors are written as they are.
    training
        Settings, data fingerprints, epochs run, best epoch: JSON values.
    metrics
        Validation scores.
    protocol
        ``"honest"`` or ``"paper"``: how train, validation and test were kept apart.
    settings, inputs
        For the manifest; ``settings`` is the configuration alone by default.
    also
        Writes more files into the folder (history, plots) before it is moved to its place.
    half
        Write numbers as float16, in half the space; a tensor with a number beyond its range
        (±65,504) is written as it is. Loading gives float32 again.
    """
    from safetensors.torch import save

    path = Path(path)
    described = {"network": asdict(config), **dict(settings or {})}
    with writing(path, "model", settings=described, inputs=inputs) as folder:
        state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        if half:
            state = {k: _halved(v) for k, v in state.items()}
        data = save(state, metadata={"architecture": config.architecture})
        write_bytes(folder / WEIGHTS, data)
        write_json(
            folder / MODEL,
            {
                **asdict(config),
                "parameters": sum(p.numel() for p in module.parameters()),
                "stored": "float16" if half else "float32",
                "protocol": protocol,
                "training": dict(training or {}),
                "metrics": dict(metrics or {}),
            },
        )
        if also is not None:
            also(folder)
    return path


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    """Return ``tensor`` as float16 if it is of numbers that fit, else as it is."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool((half.isfinite() == tensor.isfinite()).all()) else tensor


def check_file(path: Path, manifest: Manifest, name: str, remedy: str) -> None:
    """Raise ``ArtifactError`` unless the file ``name`` in ``path`` is the one that was written."""
    file = path / name
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file; {remedy}")
    if manifest.files.get(name) != file_hash(file):
        what = "weights" if name == WEIGHTS else "graph"
        raise ArtifactError(f"{file}: damaged {what} (not the bytes that were written); {remedy}")


def training_images(path: Path) -> frozenset[str]:
    """Return the ids of the images that a model, or a member of it, was trained on, if listed."""
    lists = (file.read_text() for file in path.rglob(TRAINING_IMAGES))
    return frozenset(name for text in lists for name in text.split())


def describe(path: str | Path) -> dict[str, Any]:
    """Return ``model.json`` of the model folder ``path``, checked to be one."""
    read_manifest(path, "model")
    return read_json(Path(path) / MODEL)


def read_config(path: Path) -> NetworkConfig:
    """Read the configuration out of the model folder ``path``."""
    file = path / MODEL
    raw = read_json(file)
    try:
        return NetworkConfig(
            architecture=raw["architecture"],
            classes=tuple(raw["classes"]),
            input_size=int(raw["input_size"]),
            mean=tuple(raw["mean"]),
            std=tuple(raw["std"]),
            weights_source=raw["weights_source"],
            temperature=float(raw["temperature"]),
            temperature_elsewhere=raw.get("temperature_elsewhere"),
            crop=float(raw["crop"]),
            balanced=bool(raw["balanced"]),
            standard=Standard.parse(raw["standard"]) if raw["standard"] else None,
            options=dict(raw["options"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file}: damaged description ({error})") from error
