"""The training loop: steps, a validation and a checkpoint after each epoch."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from naturalize.base import process
from naturalize.base.artifacts import write_bytes
from naturalize.base.console import progress_bar, say, warn
from naturalize.base.engine import available_cpus
from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.base.rng import seed_of
from naturalize.cells.bank import CellBank
from naturalize.compose.recipe.plan import Plan
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.models.config import Network
from naturalize.models.zoo import build, channels_last
from naturalize.training import loggers, processes
from naturalize.training.checkpoint import Checkpoint
from naturalize.training.data import CellImages
from naturalize.training.devices import Place
from naturalize.training.features import Features, learning_part
from naturalize.training.learner import Learner
from naturalize.training.losses import Loss
from naturalize.training.settings import TrainSettings

#: Which file says in how many pieces a batch fits into memory.
PIECES = "pieces.json"

#: Steps after which the time of the whole run is estimated; the first ones are slower.
_ESTIMATE_FROM, _ESTIMATE_AT = 2, 6


class MemoryFullError(NaturalizeError):
    """A batch, or a piece of one, does not fit into memory."""


@dataclass(frozen=True)
class Run:
    """What a process needs to train; it can be sent to one.

    ``work`` is the folder for decoded pixels, features and the state after each epoch; ``logs``,
    that for loggers that write files, and the name of the run there; ``pieces``, how many a batch
    is worked off in; ``laboratory``, the bank of a plan whose composites stand in another
    laboratory's images.
    """

    settings: TrainSettings
    catalog: Catalog
    split: Split
    classes: tuple[str, ...]
    plan: Plan | None
    bank: CellBank | None
    place: Place
    work: Path
    logs: tuple[Path, str]
    pieces: int = 1
    laboratory: CellBank | None = None

    def network(self) -> Network:
        """Build the network as it is before the first step; the same one every time."""
        settings = self.settings
        torch.manual_seed(seed_of(settings.seed, "initial weights"))
        network = build(
            settings.model,
            self.classes,
            weights="none" if settings.mode == "scratch" else settings.weights,
            input_size=settings.input_size,
            dropout=settings.dropout,
            options=settings.network_options,
        )
        seen = replace(network.config, crop=settings.crop, balanced=settings.balanced)
        return replace(network, config=seen)

    @property
    def processes(self) -> int:
        """How many processes train; the head of a frozen network needs one only."""
        several = max(len(self.place.devices), processes.size())
        return 1 if self.settings.mode == "transfer" else several

    def data(self, network: Network) -> CellImages:
        """Open the images that ``network`` is trained on."""
        return CellImages(
            self.settings,
            self.catalog,
            self.split,
            classes=self.classes,
            view=network.config.view,
            work=self.work,
            plan=self.plan,
            bank=self.bank,
            laboratory=self.laboratory,
            pin=self.place.gpu,
        )


def carry_out(run: Run, network: Network, data: CellImages) -> Network:
    """Train, in as many processes as the run says, until the run's state on disk is its last.

    A batch that does not fit into memory is worked off in pieces, half as large each time, and the
    run goes on from its last state; an error if a single image does not fit.
    """
    _check_processes(run, len(data.val))
    file = run.work / PIECES
    if file.is_file():
        run = replace(run, pieces=int(json.loads(file.read_text())["pieces"]))
    epochs = len(Checkpoint(run.work, run.settings).history)
    if epochs:
        say(f"going on after epoch {epochs} of {run.settings.epochs}")
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


def _check_processes(run: Run, n_val: int) -> None:
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


def fit(run: Run, network: Network, cells: CellImages) -> None:
    """Train in this process, alone or as one of several, from the last checkpoint on disk."""
    settings, checkpoint = run.settings, Checkpoint(run.work, run.settings)
    if checkpoint.finished:
        return
    with _memory_watched(), _repeatable(run.place.gpu):
        channels_last(network.module)
        learning = learning_part(network, settings.mode, settings.dropout)
        data: Any = cells
        if learning is not network:
            data = Features(cells, views=settings.views if settings.augment.changes else 1)
            data.compute(network, run.place.device, run.pieces)
        learner = Learner(
            learning,
            settings,
            steps=cells.steps,
            names=cells.train.names,
            loss=Loss.of(settings, cells.train.targets, cells.classes),
            pieces=run.pieces,
            device=run.place.device,
            bf16=_bf16(run),
        )
        _epochs(run, learner, data, checkpoint, cells.steps)


def _epochs(run: Run, learner: Learner, data: Any, checkpoint: Checkpoint, steps: int) -> None:
    if checkpoint.learner is not None:
        learner.load_state_dict(checkpoint.learner)
    train, val, settings = data.train_dataloader(), data.val_dataloader(), run.settings
    with ExitStack() as stack:
        progress, written = None, []
        if processes.rank() == 0:
            progress = stack.enter_context(_Progress(settings, steps, learner.done))
            written = stack.enter_context(loggers.opened(settings, *run.logs))
        while not checkpoint.finished:
            epoch = len(checkpoint.history)
            train.sampler.set_epoch(epoch)
            learner.begin(epoch)
            for batch in train:
                loss = learner.step(batch)
                if progress is not None:
                    progress.step(learner, loss)
                _log(written, "step", {"loss": loss, "lr": learner.last_lr}, learner.done)
            if settings.mode != "transfer":
                learner.settle(data.real_batches(epoch))
            scores = learner.validate(val)
            row = {"lr": learner.last_lr, "train_loss": learner.train_loss()}
            better = checkpoint.add(row, scores)
            if progress is not None:
                checkpoint.write(learner.state_dict(), learner.judged if better else None)
                progress.epoch(checkpoint)
            last = dict(checkpoint.history[-1])
            _log(written, "epoch", last, int(last.pop("epoch")))


def _log(
    written: list[loggers.TensorBoard | loggers.MLflow], what: str, row: dict[str, float], step: int
) -> None:
    for logger in written:
        logger.log({f"{what}/{key}": value for key, value in row.items()}, step)


class _Progress:
    """One bar over all steps of all epochs, with the time left; off a terminal, a line an epoch."""

    def __init__(self, settings: TrainSettings, steps: int, done: int) -> None:
        self.settings, self.total = settings, settings.epochs * steps
        self.bar = progress_bar()
        self._task = self.bar.add_task(
            f"train {settings.model}", total=self.total, completed=done, note=""
        )
        self._f1, self._seen, self._since = "", 0, 0.0

    def __enter__(self) -> _Progress:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, learner: Learner, loss: float) -> None:
        """Move the bar; after the first steps, say how long the run will take."""
        note = f"epoch {learner.epoch + 1}/{self.settings.epochs} · loss {loss:.3f}{self._f1}"
        self.bar.update(self._task, completed=learner.done, note=note)
        self._seen += 1
        if self._seen == _ESTIMATE_FROM:
            self._since = time.perf_counter()
        elif self._seen == _ESTIMATE_AT:
            each = (time.perf_counter() - self._since) / (_ESTIMATE_AT - _ESTIMATE_FROM)
            say(
                f"{each:.2g} s a step of {self.settings.batch_size} images: about "
                f"{_duration(each * (self.total - learner.done))} for {self.settings.epochs} epochs"
            )

    def epoch(self, checkpoint: Checkpoint) -> None:
        """Say the scores of the last epoch, and whether it was the last one of all."""
        row, epochs = checkpoint.history[-1], self.settings.epochs
        self._f1 = f" · F1 {row['val_macro_f1']:.3f}"
        if self.bar.disable:
            say(
                f"train {self.settings.model}: epoch {row['epoch']}/{epochs}, "
                f"loss {row['train_loss']:.3f}, validation loss {row['val_loss']:.3f}, "
                f"macro-F1 {row['val_macro_f1']:.3f}"
            )
        if checkpoint.finished and row["epoch"] < epochs:
            say(
                f"stopped after epoch {row['epoch']}: no better validation score in "
                f"{self.settings.patience} epochs"
            )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bf16(run: Run) -> bool:
    wanted = run.settings.precision
    return wanted == "bf16" or (
        wanted == "auto" and run.place.gpu and torch.cuda.is_bf16_supported()
    )


@contextmanager
def _repeatable(gpu: bool) -> Iterator[None]:
    """Ask a GPU for the same sums in the same order; a processor gives them unasked."""
    strict = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    if gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warned)


@contextmanager
def _memory_watched() -> Iterator[None]:
    """Turn every way in which memory can be too small into ``MemoryFullError``."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise MemoryFullError(_first_line(error)) from error
    except RuntimeError as error:
        text = str(error).lower()
        # a processor's allocator has no class of its own
        if "out of memory" in text or "t allocate memory" in text:
            raise MemoryFullError(_first_line(error)) from error
        raise


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
