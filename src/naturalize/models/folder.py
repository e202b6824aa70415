"""Model folders: ``weights.safetensors`` and ``model.json``, never a pickle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import (
    MANIFEST,
    Manifest,
    file_hash,
    read_json,
    read_manifest,
    write_bytes,
    write_json,
    writing,
)
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.config import NetworkConfig, Standard
from naturalize.models.doubt import Doubt

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

#: The folder, in a model folder, of the model that answers for standardised images.
ELSEWHERE = "elsewhere"


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
    elsewhere: Path | None = None,
    half: bool = False,
) -> Path:
    """Write a model folder, whole or not at all.

    Tensors are written as they are, with ``half`` as float16, in half the space, but for those with
    a number beyond its range (±65,504); loading gives float32 again. ``training`` holds settings,
    data fingerprints, epochs run and the best one, ``metrics`` validation scores: JSON values.
    ``protocol``, ``"honest"`` or ``"paper"``, is how train, validation and test were kept apart.
    ``settings`` and ``inputs`` are for the manifest, beside the configuration. ``also`` writes more
    files into the folder (history, plots) before it is moved to its place. ``elsewhere`` is a model
    folder to copy into this one: it answers for standardised images.
    """
    from safetensors.torch import save

    path = Path(path)
    described = {"network": asdict(config), **dict(settings or {})}
    with writing(path, "model", settings=described, inputs=inputs) as folder:
        state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        if half:
            state = halved(state)
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
        if elsewhere is not None:
            put_elsewhere(folder, elsewhere)
    return path


def put_elsewhere(folder: Path, elsewhere: Path) -> None:
    """Copy a model into the model folder ``folder``, to answer for standardised images there.

    Errors are those of :func:`check_elsewhere`.
    """
    check_elsewhere(elsewhere, read_config(folder).classes)
    shutil.copytree(elsewhere, folder / ELSEWHERE)


def check_elsewhere(path: Path, classes: Sequence[str]) -> None:
    """Raise ``SettingsError`` unless ``path`` is a model of these classes, of one network.

    ``ArtifactError`` if it is no model folder.
    """
    read_manifest(path, "model")
    found = read_config(path).classes
    if found != tuple(classes):
        raise SettingsError(
            f"{path}: answers {', '.join(found)}; a model for images from elsewhere needs the "
            f"same classes as the other, {', '.join(classes)}"
        )
    if (path / ELSEWHERE).exists():
        raise SettingsError(f"{path}: has a model for images from elsewhere itself")


def elsewhere_of(path: Path) -> Path | None:
    """Return the folder of the model that answers for standardised images, if there is one.

    ``ArtifactError`` unless it is the one that was written.
    """
    if not any(name.startswith(f"{ELSEWHERE}/") for name in read_manifest(path, "model").files):
        return None
    check_part(path, ELSEWHERE)
    return path / ELSEWHERE


def check_part(path: Path, name: str) -> None:
    """Raise ``ArtifactError`` unless the model folder ``name`` in ``path`` is as it was written."""
    file = path / name / MANIFEST
    written = read_manifest(path, "model").files.get(f"{name}/{MANIFEST}")
    if not file.is_file() or written != file_hash(file):
        raise ArtifactError(
            f"{path / name}: not the model that was written; copy the model folder again"
        )


def halved(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors as float16, as they are those that are no such numbers or do not fit."""
    made = {}
    for name, tensor in state.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        fits = bool((half.isfinite() == tensor.isfinite()).all())
        made[name] = half if fits else tensor
    return made


def check_file(path: Path, manifest: Manifest, name: str, remedy: str) -> None:
    """Raise ``ArtifactError`` unless the file ``name`` in ``path`` is the one that was written."""
    file = path / name
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file; {remedy}")
    if manifest.files.get(name) != file_hash(file):
        what = "weights" if name == WEIGHTS else "graph"
        raise ArtifactError(f"{file}: damaged {what} (not the bytes that were written); {remedy}")


def with_description(path: Path, out: Path, more: Mapping[str, Any]) -> Path:
    """Write a copy of the model folder ``path`` whose ``model.json`` says ``more``."""
    manifest = read_manifest(path, "model")
    settings = {**manifest.settings, **more}
    with writing(out, "model", settings=settings, inputs=manifest.inputs) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        write_json(folder / MODEL, {**read_json(path / MODEL), **more})
    return out


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
            doubt=Doubt.parse(raw["doubt"]) if raw.get("doubt") else None,
            options=dict(raw["options"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file}: damaged description ({error})") from error
