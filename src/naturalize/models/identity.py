"""What names a network by its content, whatever folder it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.models.folder import WEIGHTS
from naturalize.models.members import is_ensemble, read_members
from naturalize.models.safetensors_file import numbers

if TYPE_CHECKING:
    from torch import nn

#: Numbers stored in half the space are float32 again in a network.
_IN_MEMORY = {"float16": "float32"}


def weights_hash(module: nn.Module) -> str:
    """Return 16 hex digits naming the weights (and buffers) of ``module``, names and values."""
    state = sorted(module.state_dict().items())
    return _hash((name, tensor.detach().cpu().numpy()) for name, tensor in state)


def stored_hash(folder: Path) -> str:
    """Return what :func:`weights_hash` says of the network in a model folder, without PyTorch."""
    return _hash(_stored(folder))


def _stored(folder: Path, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and numbers as a module's state has them, sorted by name."""
    if not is_ensemble(folder):
        for stored, values in numbers(folder / WEIGHTS):
            yield prefix + stored.name, values.astype(_IN_MEMORY.get(stored.dtype, stored.dtype))
        return
    members = read_members(folder)[1]
    places = {f"{prefix}averaged.{i}.": member.path for i, member in enumerate(members)}
    for place, path in sorted(places.items()):
        yield from _stored(path, place)
    yield f"{prefix}shares", np.array([member.share for member in members], np.float32)


def _hash(tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    digest = hashlib.sha256()
    for name, values in tensors:
        digest.update(f"{name} torch.{values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]
