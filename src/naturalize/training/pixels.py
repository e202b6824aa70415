"""Decoded images, or features of them, in one file of equal records: each is made only once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.base.errors import os_errors_named


class RecordStore:
    """``n`` arrays of one shape and type in a file, filled in any order by any process.

    Records are read and written by position, not mapped: memory stays flat, a full disk is an error
    and not a crash, and two processes that fill the same record write the same bytes. Beside the
    file, ``<path>.done`` has one byte a record.
    """

    def __init__(self, path: Path, n: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.n, self.shape, self.dtype = path, n, tuple(shape), np.dtype(dtype)
        self._record = int(np.prod(shape)) * self.dtype.itemsize
        self._files: tuple[int, int] | None = None
        self._owner = 0

    def get(self, row: int) -> np.ndarray | None:
        """Return record ``row``, or null if it was not put yet."""
        pixels, done = self._open()
        if os.pread(done, 1, row) != b"\x01":
            return None
        data = os.pread(pixels, self._record, row * self._record)
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    def put(self, row: int, values: np.ndarray) -> None:
        """Keep ``values`` as record ``row``; they count as there only once they are whole."""
        pixels, done = self._open()
        data = memoryview(np.ascontiguousarray(values, self.dtype).tobytes())
        with os_errors_named(self.path):
            written = 0
            while written < len(data):  # a nearly full disk takes a part first, then fails
                place = row * self._record + written
                written += os.pwrite(pixels, data[written:], place)
            os.pwrite(done, b"\x01", row)

    def missing(self) -> np.ndarray:
        """Return the rows that were not put yet, int64."""
        _, done = self._open()
        there = np.frombuffer(os.pread(done, self.n, 0).ljust(self.n, b"\0"), np.uint8)
        return np.flatnonzero(there != 1)

    def _open(self) -> tuple[int, int]:
        if self._files is None or self._owner != os.getpid():
            with os_errors_named(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                names = (self.path, self.path.with_name(self.path.name + ".done"))
                opened = [os.open(name, os.O_RDWR | os.O_CREAT, 0o644) for name in names]
            self._files, self._owner = (opened[0], opened[1]), os.getpid()
        return self._files

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        if self._files is not None and self._owner == os.getpid():
            for file in self._files:
                os.close(file)
        self._files = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": None}

    def __del__(self) -> None:
        self.close()


class PixelStore(RecordStore):
    """Images RGB uint8 (size, size, 3)."""

    def __init__(self, path: Path, n: int, size: int) -> None:
        super().__init__(path, n, (size, size, 3), np.uint8)
