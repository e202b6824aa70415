"""Seconds and peak memory of a stage, this process and its workers together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Reading:
    """What was measured: wall seconds and peak resident memory in MB (2**20 bytes)."""

    seconds: float = 0.0
    peak_mb: float = 0.0


@contextmanager
def metered() -> Iterator[Reading]:
    """Measure the block; the reading is filled when it ends.

    On Linux the kernel's high-water mark is reset first, so that the peak is the block's own;
    elsewhere it is the peak since the process began. Workers that ended within the block count if
    one of them was larger than every worker before (the kernel keeps the largest only).
    """
    reading = Reading()
    with suppress(OSError):
        _CLEAR.write_text("5")
    before = _most_mb(children=True)
    start = time.monotonic()
    try:
        yield reading
    finally:
        reading.seconds = time.monotonic() - start
        children = _most_mb(children=True)
        reading.peak_mb = max(_high_water_mb(), children if children > before else 0.0)


def _most_mb(*, children: bool) -> float:
    try:
        import resource
    except ImportError:  # no such counters on this system
        return 0.0
    whose = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return resource.getrusage(whose).ru_maxrss / 1024


def _high_water_mb() -> float:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return _most_mb(children=False)
    return next(float(x.split()[1]) / 1024 for x in lines if x.startswith("VmHWM"))
