"""One run as any process can carry it out: all it needs, and the state that it leaves on disk."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import write_bytes
from naturalize.base.console import say, warn
from naturalize.base.errors import NaturalizeError, SettingsError
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.training.devices import Place
from naturalize.training.settings import TrainSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan
    from naturalize.models.zoo import Network
    from naturalize.training.data import CellImages

#: Which file says in how many pieces a batch fits into memory.
PIECES = "pieces.json"


class MemoryFullError(NaturalizeError):
    """A batch, or a piece of one, does not fit into memory."""


@dataclass(frozen=True)
class Job:
    """What a process needs to train; it can be sent to one.

    Attributes
    ----------
    place
        Where it is computed.
    work
        Folder for decoded pixels, features and the state after each epoch.
    logs
        Folder for loggers that write files, and the name of the run there.
    pieces
        How many pieces a batch is worked off in.
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

    def network(self) -> Network:
        """Build the network as it is before the first step; the same one every time."""
        import torch

        from naturalize.base.rng import seed_of
        from naturalize.models.zoo import build

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

    def data(self, network: Network) -> CellImages:
        """Open the images that ``network`` is trained on."""
        from naturalize.training.data import CellImages

        return CellImages(
            self.settings,
            self.catalog,
            self.split,
            classes=self.classes,
            view=network.config.view,
            work=self.work,
            plan=self.plan,
            bank=self.bank,
            pin=self.place.gpu,
        )

    @property
    def processes(self) -> int:
        """How many processes train; the head of a frozen network needs one only."""
        return 1 if self.settings.mode == "transfer" else len(self.place.numbers)


def carry_out(job: Job, network: Network, data: CellImages) -> Network:
    """Train, in as many processes as the job says, until the run's state on disk is its last.

    A batch that does not fit into memory is worked off in pieces, half as large each time, and the
    run goes on from its last state.

    Raises
    ------
    NaturalizeError
        If a single image does not fit, or whatever stops a run.
    """
    from naturalize.training.keeper import kept
    from naturalize.training.processes import fit_in_processes

    if job.settings.batch_size % job.processes:
        raise SettingsError(
            f"batch_size {job.settings.batch_size} cannot be dealt evenly to the {job.processes} "
            f"processes of device {job.settings.device}"
        )
    if job.processes > len(data.val):
        raise SettingsError(
            f"device {job.settings.device}: {job.processes} processes for {len(data.val)} "
            "validation images; use fewer"
        )
    if job.settings.mode == "transfer" and len(job.place.numbers) > 1:
        warn("mode transfer trains the classifier alone, in one process, on the first device")
    before = kept(job.work)
    if before is not None:
        epochs = len(before["history"])
        say(f"going on after epoch {epochs} of {job.settings.epochs}")
    job = replace(job, pieces=_remembered(job.work))
    while True:
        try:
            if job.processes > 1:
                fit_in_processes(job)
            else:
                fit(job, network, data)
            return network
        except MemoryFullError as error:
            job = replace(job, pieces=_more_pieces(job, error))
        _give_back()
        network = job.network()  # a step that was broken off may have touched it
        data = job.data(network)


def _more_pieces(job: Job, error: MemoryFullError) -> int:
    pieces, share = job.pieces * 2, job.settings.batch_size // job.processes
    if pieces > share:
        raise NaturalizeError(
            f"not even one image at a time fits into memory ({error}); "
            "set a smaller input_size, or a smaller model"
        ) from error
    write_bytes(job.work / PIECES, json.dumps({"pieces": pieces}).encode())
    warn(
        f"out of memory: each batch of {share} is now worked off {-(-share // pieces)} images at a "
        f"time, and its gradients are added up, so that the step stays that of {share}; the run "
        "goes on after its last whole epoch"
    )
    return pieces


def _remembered(work: Path) -> int:
    file = work / PIECES
    return int(json.loads(file.read_text())["pieces"]) if file.is_file() else 1


def _give_back() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def memory_watched() -> Iterator[None]:
    """Turn every way in which memory can be too small into ``MemoryFullError``."""
    import torch

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


def fit(job: Job, network: Network, data: CellImages, *, rank: int | None = None) -> None:
    """Train in this process, alone or as ``rank`` of several, from the last state on disk."""
    with memory_watched():
        _fit(job, network, data, rank)


def _fit(job: Job, network: Network, cells: CellImages, rank: int | None) -> None:
    from naturalize.models.zoo import channels_last
    from naturalize.training.features import learner
    from naturalize.training.framework import pl
    from naturalize.training.keeper import STATE, Bar, Keeper, kept
    from naturalize.training.logs import Journal, loggers
    from naturalize.training.losses import Loss
    from naturalize.training.network import Classifier

    settings, keeper = job.settings, Keeper(job.work, job.settings)
    before = kept(job.work)
    if before is not None:
        keeper.load_state_dict(before)
        if keeper.finished:
            return
    channels_last(network.module)
    learning, data = learner(job, network, cells)
    module = Classifier(
        learning,
        settings,
        steps=cells.steps,
        names=cells.train.names,
        loss=Loss.of(settings, cells.train.targets, len(cells.classes)),
        pieces=job.pieces,
    )
    module.train()  # Lightning keeps the modes it finds; ours leaves a frozen backbone alone
    callbacks: list[Any] = [keeper]
    if not rank:
        callbacks = [Bar(f"train {settings.model}", settings.epochs, cells.steps), keeper]
    written = loggers(settings, *job.logs) if not rank else []
    with _guarded():
        trainer = pl.Trainer(
            accelerator=job.place.accelerator,
            **_processes(job, rank),
            precision=_precision(job),
            max_epochs=settings.epochs,
            callbacks=[*callbacks, Journal(written, keeper)],
            deterministic="warn" if job.place.gpu else None,  # a processor is, unasked
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=job.work,
        )
        state = job.work / STATE
        trainer.fit(module, datamodule=data, ckpt_path=state if before is not None else None)


def _processes(job: Job, rank: int | None) -> dict[str, Any]:
    """Return what Lightning must know of the devices, and of the processes it is one of."""
    if rank is None:
        one = [job.place.numbers[0]] if job.place.gpu else 1
        return {"devices": one}
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    strategy = DDPStrategy(
        process_group_backend="nccl" if job.place.gpu else "gloo",
        # while only the head learns, the others have no gradients to wait for
        find_unused_parameters=job.settings.head_epochs > 0,
    )
    return {
        "devices": list(job.place.numbers) if job.place.gpu else len(job.place.numbers),
        "strategy": strategy,
        "plugins": [LightningEnvironment()],
    }


def _precision(job: Job) -> Any:
    import torch

    wanted = job.settings.precision
    if wanted == "auto":
        wanted = "bf16" if job.place.gpu and torch.cuda.is_bf16_supported() else "full"
    return "bf16-mixed" if wanted == "bf16" else "32-true"


@contextmanager
def _guarded() -> Iterator[None]:
    """Keep Lightning's tips to itself, and leave torch's modes as they were."""
    import torch

    strict = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(lightning|torch)\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        torch.use_deterministic_algorithms(strict, warn_only=warned)
