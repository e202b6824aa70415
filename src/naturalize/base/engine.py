"""``engine.map``: the only place that knows about processes or a cluster.

Results come in the order of the items, memory is bounded (a window of items is under way), progress
is shown, and the first error names its item. The backends give the same results because no
randomness and no state lives in a worker.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from naturalize.base.console import track
from naturalize.base.errors import EngineError, MissingExtraError, NaturalizeError, unknown

T = TypeVar("T")
R = TypeVar("R")

BACKENDS = ("serial", "processes", "ray")

#: Chunks under way per worker: enough to keep it busy, few enough to keep memory flat.
_WINDOW = 3


def map(
    fn: Callable[[T], R],
    items: Iterable[T],
    *,
    backend: str = "serial",
    workers: int | None = None,
    chunk: int = 8,
    what: str | None = None,
    total: int | None = None,
    name: Callable[[T], str] = str,
) -> Iterator[R]:
    """Yield ``fn(item)`` for every item, in order.

    Parameters
    ----------
    fn
        A module-level function, or a ``functools.partial`` of one (it is pickled).
    items
        What to work on; read lazily.
    backend
        ``"serial"``, ``"processes"`` (local) or ``"ray"`` (a local or a running Ray cluster).
    workers
        Number of workers; all processors by default. One worker runs serially.
    chunk
        Items sent to a worker at a time.
    what
        Heading of the progress bar; none without it.
    total
        Number of items, for the bar, where ``items`` has no length.
    name
        Names an item in an error message.

    Raises
    ------
    EngineError
        When ``fn`` failed for an item (with its name), or a worker died. A ``NaturalizeError``
        that ``fn`` raised passes through as it is.
    SettingsError
        For an unknown backend.
    """
    if backend not in BACKENDS:
        raise unknown("engine", backend, list(BACKENDS))
    if total is None and isinstance(items, Sequence):
        total = len(items)
    workers = workers or available_cpus()
    if backend == "serial" or (backend == "processes" and workers == 1):
        results = _serial(fn, items, name)
    else:
        chunks = _chunks(items, max(1, chunk))
        run = _processes if backend == "processes" else _ray
        results = run(_Guarded(fn, name), chunks, workers)
    return track(results, what, total) if what else results


def available_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Guarded:
    """``fn`` over a chunk, with errors that name their item and survive pickling."""

    def __init__(self, fn: Callable[[Any], Any], name: Callable[[Any], str]) -> None:
        self.fn, self.name = fn, name

    def __call__(self, chunk: list[Any]) -> list[Any]:
        return [_apply(self.fn, item, self.name) for item in chunk]


def _apply(fn: Callable[[T], R], item: T, name: Callable[[T], str]) -> R:
    try:
        return fn(item)
    except (NaturalizeError, MemoryError):
        raise
    except Exception as error:
        raise EngineError(f"{name(item)}: {type(error).__name__}: {error}") from error


def _serial(fn: Callable[[T], R], items: Iterable[T], name: Callable[[T], str]) -> Iterator[R]:
    for item in items:
        yield _apply(fn, item, name)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while piece := list(itertools.islice(iterator, size)):
        yield piece


def _one_thread_each() -> None:
    """Keep libraries in a worker from starting a thread per processor of their own."""
    import cv2

    cv2.setNumThreads(1)


def _processes(guarded: _Guarded, chunks: Iterator[list[Any]], workers: int) -> Iterator[Any]:
    # forkserver: a fork of a process that holds threads (torch, BLAS, the bar) can deadlock
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread_each)
    try:
        pending: deque[tuple[list[Any], Future[list[Any]]]] = deque()
        for piece in chunks:
            pending.append((piece, pool.submit(guarded, piece)))
            if len(pending) >= _WINDOW * workers:
                yield from _result(pending.popleft(), guarded.name)
        while pending:
            yield from _result(pending.popleft(), guarded.name)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(sent: tuple[list[Any], Future[list[Any]]], name: Callable[[Any], str]) -> list[Any]:
    piece, future = sent
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise EngineError(
            f"a worker died (killed, or out of memory) at or after {name(piece[0])}; "
            "try fewer workers; a script that starts workers needs `if __name__ == '__main__':`"
        ) from error


def _ray(guarded: _Guarded, chunks: Iterator[list[Any]], workers: int) -> Iterator[Any]:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray", "ray") from error
    if not ray.is_initialized():
        # local workers import from where this process does (a script's own folder included)
        path = {"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}}
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env=path)
    remote = ray.remote(_run_in_ray)
    shared = ray.put(guarded)
    pending: deque[Any] = deque()

    def fetch(reference: Any) -> list[Any]:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, NaturalizeError):
                raise cause from error
            raise EngineError(f"a Ray task failed: {cause}") from error
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray: {error}") from error

    for piece in chunks:
        pending.append(remote.remote(shared, piece))
        if len(pending) >= _WINDOW * workers:
            yield from fetch(pending.popleft())
    while pending:
        yield from fetch(pending.popleft())


def _run_in_ray(guarded: _Guarded, piece: list[Any]) -> list[Any]:
    _one_thread_each()
    return guarded(piece)
