"""Several processes that train one network together, each with its share of every batch."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from naturalize.base.console import console
from naturalize.base.errors import EngineError, NaturalizeError
from naturalize.training.job import Job, fit


def fit_in_processes(job: Job) -> None:
    """Train in as many processes as the job says; what they reach is the state on disk.

    Each builds network and data for itself, and Lightning's DDP keeps them alike. The first error
    of any stops all; none outlives this process.

    Raises
    ------
    NaturalizeError
        What any of them raised, or that one died.
    """
    context = multiprocessing.get_context("spawn")
    port, ranks = _free_port(), []
    try:
        for rank in range(job.processes):
            ours, theirs = context.Pipe()
            told = (job, rank, port, theirs, console.quiet)
            process = context.Process(target=_rank, args=told, name=f"naturalize-train-{rank}")
            process.start()
            theirs.close()
            ranks.append((process, ours))
        _await(ranks)
    finally:
        for process, ours in ranks:
            process.terminate()
            process.join()
            ours.close()


def _await(ranks: list[tuple[Any, Connection]]) -> None:
    """Wait until all are done; raise the first error that comes."""
    left: dict[Any, Any] = {ours: process for process, ours in ranks}
    while left:
        for ours in wait(list(left)):
            told: Any = ours
            process = left.pop(told)
            try:
                error = told.recv()
            except EOFError:
                process.join()
                raise EngineError(
                    f"a training process died (exit code {process.exitcode}: killed, or out of "
                    "memory); a script that trains in several processes needs "
                    "`if __name__ == '__main__':`"
                ) from None
            if error is not None:
                raise error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rank(job: Job, rank: int, port: int, parent: Connection, quiet: bool) -> None:
    """Train as one of the processes, and tell the parent how it went."""
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    console.quiet = quiet or rank > 0
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0"
    )
    error: BaseException | None = None
    try:
        _train(job, rank)
    except NaturalizeError as found:
        error = found
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as found:  # whatever it is, the parent must know of it
        error = EngineError(f"training process {rank}: {type(found).__name__}: {found}")
    with suppress(OSError):
        parent.send(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # others may be gone: an orderly farewell to them would wait for ever


def _train(job: Job, rank: int) -> None:
    from naturalize.base import process as speed
    from naturalize.base.engine import available_cpus

    speed.keep_memory()
    speed.use_threads(max(1, available_cpus() // job.processes))
    network = job.network()
    if rank:
        job = replace(job, settings=job.settings.model_copy(update={"loggers": ()}))
    fit(job, network, job.data(network), rank=rank)


def _die_with(parent: Connection) -> None:
    """End this process when the parent is gone, killed perhaps: two writers would spoil the state.

    The parent sends nothing, so this waits until its end of the pipe is closed.
    """
    with suppress(EOFError, OSError):
        parent.recv()
    os._exit(1)
