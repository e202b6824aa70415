"""Carry out a run: in one process or in several, in pieces where memory is too small."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from naturalize.base import process
from naturalize.base.artifacts import write_bytes
from naturalize.base.console import say, warn
from naturalize.base.engine import available_cpus
from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.training import processes
from naturalize.training.checkpoint import Checkpoint
from naturalize.training.devices import Place
from naturalize.training.loop import MemoryFullError, Run, fit

if TYPE_CHECKING:
    from naturalize.models.config import Network
    from naturalize.training.data import CellImages

#: Which file says in how many pieces a batch fits into memory.
PIECES = "pieces.json"


def carry_out(run: Run, network: Network, data: CellImages) -> Network:
    """Train, in as many processes as the run says, until the run's state on disk is its last.

    A batch that does not fit into memory is worked off in pieces, half as large each time, and the
    run goes on from its last state.

    Raises
    ------
    NaturalizeError
        If a single image does not fit, or whatever stops a run.
    """
    _check(run, len(data.val))
    epochs = len(Checkpoint(run.work, run.settings).history)
    if epochs:
        say(f"going on after epoch {epochs} of {run.settings.epochs}")
    run = replace(run, pieces=_remembered(run))
    while True:
        try:
            if len(run.place.devices) > 1 and run.settings.mode != "transfer":
                processes.start(_fit, run.place.devices, run.work / "meeting", run)
            else:
                fit(run, network, data)
            return network
        except MemoryFullError as error:
            run = replace(run, pieces=_more_pieces(run, error))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        network = run.network()  # a step that was broken off may have touched it
        data = run.data(network)


def _fit(run: Run) -> None:
    """Train as one of several processes that were started for it."""
    process.keep_memory()
    process.use_threads(max(1, available_cpus() // processes.size()))
    run = replace(run, place=Place((run.place.devices[processes.rank()],)))
    network = run.network()
    fit(run, network, run.data(network))


def _check(run: Run, n_val: int) -> None:
    settings, several = run.settings, run.processes
    if settings.batch_size % several:
        raise SettingsError(
            f"batch_size {settings.batch_size} cannot be dealt evenly to the {several} "
            f"processes of device {settings.device}"
        )
    if several > n_val:
        raise SettingsError(
            f"device {settings.device}: {several} processes for {n_val} "
            "validation images; use fewer"
        )
    if settings.mode == "transfer" and processes.size() > 1:
        raise SettingsError("mode transfer trains in one process: start it without torchrun")
    if settings.mode == "transfer" and len(run.place.devices) > 1:
        warn("mode transfer trains only the classifier, in one process, on the first device")


def _more_pieces(run: Run, error: MemoryFullError) -> int:
    pieces, share = run.pieces * 2, run.settings.batch_size // run.processes
    if pieces > share:
        raise NaturalizeError(
            f"not even one image at a time fits into memory ({error}); "
            "set a smaller input_size, or a smaller model"
        ) from error
    write_bytes(run.work / PIECES, json.dumps({"pieces": pieces}).encode())
    if processes.size() > 1:
        raise NaturalizeError(
            f"out of memory ({error}); start the same command again: it goes on after its last "
            f"whole epoch, {-(-share // pieces)} images at a time"
        ) from error
    warn(
        f"out of memory: each batch of {share} is now worked off {-(-share // pieces)} images at a "
        f"time, and its gradients are added up, so that the step stays that of {share}; the run "
        "goes on after its last whole epoch"
    )
    return pieces


def _remembered(run: Run) -> int:
    file = run.work / PIECES
    return int(json.loads(file.read_text())["pieces"]) if file.is_file() else 1
