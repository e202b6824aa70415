"""Where a safetensors file has its numbers: read without the library, for those who lack it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """A tensor of a file: its name, numpy's name of its type, its shape, and its bytes' place."""

    name: str
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
        found[name] = Stored(name, dtype, tuple(entry["shape"]), place, end - begin)
    return found


def numbers(path: Path) -> Iterator[tuple[Stored, np.ndarray]]:
    """Yield each tensor and its numbers, sorted by name, one in memory at a time."""
    with path.open("rb") as file:
        for _, stored in sorted(layout(path).items()):
            file.seek(stored.offset)
            flat = np.frombuffer(file.read(stored.length), stored.dtype)
            yield stored, flat.reshape(stored.shape)
