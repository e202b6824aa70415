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
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
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
    """Yield ``fn(item)`` for every item, in order; ``items`` are read lazily.

    ``EngineError`` when ``fn`` failed for an item (which ``name`` names), or a worker died; a
    ``NaturalizeError`` that ``fn`` raised passes through as it is. ``SettingsError`` for an unknown
    backend.

    Parameters
    ----------
    fn
        A module-level function, or a ``functools.partial`` of one (it is pickled).
    backend
        ``"serial"``, ``"processes"`` (local) or ``"ray"`` (a local or a running Ray cluster).
    workers
        Number of workers; all processors by default. One worker runs serially.
    chunk
        Items sent to a worker at a time.
    what, total
        Heading of the progress bar (none without it), and the number of items where they have no
        length.
    """
    if backend not in BACKENDS:
        raise unknown("engine", backend, list(BACKENDS))
    if total is None and isinstance(items, Sequence):
        total = len(items)
    workers = workers or available_cpus()
    if backend == "serial" or (backend == "processes" and workers == 1):
        results: Iterator[R] = (_apply(fn, item, name) for item in items)
    else:
        chunks = chunked(items, max(1, chunk))
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


def chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``items`` in lists of ``size``, the last one shorter; they are read lazily."""
    iterator = iter(items)
    while piece := list(itertools.islice(iterator, size)):
        yield piece


def _windowed(
    send: Callable[[T], Any], items: Iterable[T], window: int, receive: Callable[[Any], R]
) -> Iterator[R]:
    """Yield what is received for each item, in order, with up to ``window`` of them under way."""
    pending: deque[Any] = deque()
    for item in items:
        pending.append(send(item))
        if len(pending) >= window:
            yield receive(pending.popleft())
    while pending:
        yield receive(pending.popleft())


def prefetched(fn: Callable[[T], R], items: Iterable[T], *, window: int = 64) -> Iterator[R]:
    """Yield ``fn(item)`` for every item, in order, with up to ``window`` of them under way.

    It runs in threads: for reading images, which decode outside the lock of Python. No process is
    started, so it works in any script and at once; an error of ``fn`` comes out at its item, and
    what was not begun by then is not done.
    """
    pool = ThreadPoolExecutor(available_cpus())
    try:
        yield from _windowed(lambda item: pool.submit(fn, item), items, window, Future.result)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


#: The work of a worker, sent once when it starts.
_work: _Guarded | None = None


def _one_thread_each() -> None:
    """Keep libraries in a worker from starting a thread per processor of their own."""
    import cv2

    cv2.setNumThreads(1)


def _start_worker(guarded: _Guarded) -> None:
    global _work  # noqa: PLW0603 - sent once, so that what it loads (a network) is loaded once
    _one_thread_each()
    _work = guarded


def _run_in_worker(piece: list[Any]) -> list[Any]:
    assert _work is not None
    return _work(piece)


def _processes(guarded: _Guarded, chunks: Iterator[list[Any]], workers: int) -> Iterator[Any]:
    # forkserver: a fork of a process that holds threads (torch, BLAS, the bar) can deadlock
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(guarded,)
    )

    def send(piece: list[Any]) -> tuple[list[Any], Future[list[Any]]]:
        try:
            return piece, pool.submit(_run_in_worker, piece)
        except BrokenProcessPool as error:  # raised where the first piece that it broke comes out
            broken: Future[list[Any]] = Future()
            broken.set_exception(error)
            return piece, broken

    def receive(sent: tuple[list[Any], Future[list[Any]]]) -> list[Any]:
        try:
            return sent[1].result()
        except BrokenProcessPool as error:
            raise EngineError(
                "a worker died (killed, or out of memory) at or after "
                f"{guarded.name(sent[0][0])}; try fewer workers; a script that starts workers "
                "needs `if __name__ == '__main__':`"
            ) from error

    try:
        for answers in _windowed(send, chunks, _WINDOW * workers, receive):
            yield from answers
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
    shared = [ray.put(guarded)]  # in a list: Ray would fetch a bare reference for every chunk

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

    def send(piece: list[Any]) -> Any:
        return remote.remote(shared, piece)

    for answers in _windowed(send, chunks, _WINDOW * workers, fetch):
        yield from answers


def _run_in_ray(shared: list[Any], piece: list[Any]) -> list[Any]:
    import ray

    (reference,) = shared
    if _ray_work.get("of") != reference.hex():
        _one_thread_each()
        _ray_work.update(of=reference.hex(), work=ray.get(reference))
    return _ray_work["work"](piece)


#: The last work that a Ray worker was given: fetched once, so that what it loads is loaded once.
_ray_work: dict[str, Any] = {}
