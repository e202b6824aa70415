"""What names a network by its content, whatever folder it came from."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from naturalize.models.ensemble import is_ensemble, read_members
from naturalize.models.folder import WEIGHTS

if TYPE_CHECKING:
    from torch import nn


def weights_hash(module: nn.Module) -> str:
    """Return 16 hex digits naming the weights (and buffers) of ``module``, names and values."""
    state = sorted(module.state_dict().items())
    return _hash((name, tensor.detach().cpu().numpy()) for name, tensor in state)


def stored_hash(folder: Path) -> str:
    """Return what :func:`weights_hash` says of the network in a model folder, without PyTorch."""
    return _hash(_stored(folder))


def _stored(folder: Path, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and numbers as a module's state has them (float32 for half), sorted by name."""
    if not is_ensemble(folder):
        with (folder / WEIGHTS).open("rb") as file:  # one tensor in memory at a time
            for name, stored in sorted(layout(folder / WEIGHTS).items()):
                file.seek(stored.offset)
                values = np.frombuffer(file.read(stored.length), stored.dtype)
                kind = "float32" if stored.dtype == "float16" else stored.dtype
                yield prefix + name, values.reshape(stored.shape).astype(kind)
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


#: safetensors' names of types, and numpy's; read here, as prediction needs no such library.
_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """A tensor of a file: numpy's name of its type, its shape, and its bytes' place."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def layout(path: Path) -> dict[str, Stored]:
    """Return what a safetensors file holds, by name; offsets count from its first byte."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    found = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        dtype = _TYPES.get(entry["dtype"], entry["dtype"])
        place = 8 + length + begin
        found[name] = Stored(dtype, tuple(entry["shape"]), place, end - begin)
    return found
