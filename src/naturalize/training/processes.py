"""Several processes that train one network: what they share, and how they are started.

``torchrun`` starts them (on one machine or several), or ``device: cpu:2``, ``cuda:0,1`` does, by
torch's own launcher. Each has its share of every batch; gradients are averaged.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from naturalize.base.console import console
from naturalize.base.errors import EngineError, NaturalizeError
from naturalize.training.devices import Place


def rank() -> int:
    """Return the number of this process among those that train together, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank_key() -> tuple[int, ...]:
    """Return a key that sets other processes' draws apart from the first one's."""
    return (rank(),) if rank() else ()


def wait() -> None:
    """Wait until all processes have come here."""
    if size() > 1:
        distributed.barrier()


def mean(value: Any, device: str) -> float:
    """Return the mean of a number over all processes."""
    if size() == 1:
        return float(value)
    held = torch.as_tensor(value, dtype=torch.float64).to(device)
    distributed.all_reduce(held)
    return float(held) / size()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace the gradients by their mean over all processes."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / size()
    distributed.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def gathered(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return tensors of all processes, one after the other."""
    if size() == 1:
        return parts
    found: list[Any] = [None] * size()
    distributed.all_gather_object(found, [part.numpy() for part in parts])
    return [torch.from_numpy(np.concatenate(pieces)) for pieces in zip(*found, strict=True)]


@contextmanager
def joined(device: str, **options: Any) -> Iterator[None]:
    """Make this process one of several for the block; by default the environment says which."""
    gpu = device.startswith("cuda")
    if gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpu else "gloo", **options)
    console.quiet = console.quiet or rank() > 0
    try:
        yield
        distributed.barrier()  # one that left early would break connections that others still use
    finally:
        distributed.destroy_process_group()


@contextmanager
def under_torchrun(where: Place) -> Iterator[Place]:
    """Join the processes that ``torchrun`` started, if it did; yield where this one computes."""
    if not distributed.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) < 2:
        yield where
        return
    device = f"cuda:{os.environ['LOCAL_RANK']}" if where.gpu else where.device
    with joined(device):
        yield Place((device,))


def start(function: Callable[..., None], devices: Sequence[str], meeting: Path, *told: Any) -> None:
    """Call ``function(*told)`` in one process for each of ``devices``, joined.

    They find each other through the file ``meeting``; any old one is removed. The first error of
    any stops all, and is raised here, as it is if one died; none outlives this process.
    """
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    meeting.unlink(missing_ok=True)
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # one line says it
    options = {"init_method": meeting.absolute().as_uri(), "world_size": len(devices)}
    try:
        spawn(
            _one_of_several,
            (function, devices, options, errors, console.quiet, told),
            nprocs=len(devices),
        )
    except (ProcessRaisedException, ProcessExitedException) as error:
        if not errors.empty():
            raise errors.get() from None
        raise EngineError(
            f"a training process died ({str(error).strip().splitlines()[-1]}; killed, or out of "
            "memory); a script that trains in several processes needs `if __name__ == '__main__':`"
        ) from error
    finally:
        meeting.unlink(missing_ok=True)


def _one_of_several(
    number: int,
    function: Callable[..., None],
    devices: Sequence[str],
    options: dict[str, Any],
    errors: Any,
    quiet: bool,
    told: tuple[Any, ...],
) -> None:
    # torch sends SIGINT when the parent is gone, killed perhaps: then end at once
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    console.quiet = quiet
    try:
        with joined(devices[number], rank=number, **options):
            function(*told)
    except NaturalizeError as error:
        errors.put(error)
        raise
