"""Prefetching in threads: for reading images, which decode outside the lock of Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from naturalize.base.engine import available_cpus

T = TypeVar("T")
R = TypeVar("R")


def prefetched(fn: Callable[[T], R], items: Iterable[T], *, window: int = 64) -> Iterator[R]:
    """Yield ``fn(item)`` for every item, in order, with up to ``window`` of them under way.

    No process is started, so it works in any script and at once; an error of ``fn`` comes out at
    its item, and what was not begun by then is not done.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(available_cpus())
    try:
        for item in items:
            pending.append(pool.submit(fn, item))
            if len(pending) >= window:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
