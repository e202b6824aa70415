"""``train``: from catalog, split and plan to a model folder, resumable after a kill at any time."""

from __future__ import annotations

import json
import logging
import math
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import fingerprint, write_bytes
from naturalize.base.console import say
from naturalize.base.errors import InputError
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.training.settings import TrainSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.plan import Plan
    from naturalize.models.zoo import Network
    from naturalize.training.data import CellImages
    from naturalize.training.keeper import Keeper

#: What a run writes into its work folder.
_OURS = ("key.json", "pixels-*", "crops", ".crops.*", "state.ckpt", "best-*", ".*.partial")


def train(
    settings: TrainSettings,
    catalog: Catalog,
    split: Split,
    *,
    plan: Plan | None = None,
    bank: CellBank | None = None,
    out: str | Path,
    work: str | Path | None = None,
    protocol: str = "honest",
    inputs: Mapping[str, str] | None = None,
) -> Path:
    """Train a network and write its model folder.

    The weights with the best validation macro-F1 are kept. Killed at any time and called again with
    the same arguments, it goes on after the last whole epoch; on a processor the final weights are
    the same, bit for bit, as those of an unbroken run.

    Parameters
    ----------
    settings
        What to train and how.
    catalog, split
        Real images: those of ``train`` are trained on, those of ``val`` choose the epoch.
    plan, bank
        Composites and the cells they are made of; needed if ``settings.composites``. The bank is
        needed too where ``settings.augment.alone`` shows cells alone.
    out
        The model folder to write.
    work
        Folder for decoded pixels and for the state between epochs, removed at the end; a hidden
        folder beside ``out`` by default.
    protocol
        Written into the model folder. Under ``"honest"``, a plan with a parent outside the train
        part is refused.
    inputs
        Name → fingerprint of each artifact read; those of catalog, split and plan by default.

    Raises
    ------
    InputError
        For a class without training images, an empty part, or a plan that does not fit.
    SettingsError
        For an unknown model or absent weights.
    NaturalizeError
        If the loss is no number any more, with the step and the images of the batch.
    """
    from naturalize.training import speed

    speed.keep_memory()
    speed.wait_calmly()
    speed.use_threads()
    from naturalize.models.predictor import check_device
    from naturalize.models.zoo import build
    from naturalize.training.data import CellImages, check_composites, classes_of

    out = Path(out)
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    check_device(settings.device)
    check_composites(settings, plan, bank)
    if not settings.composites:
        plan = None
    classes = classes_of(catalog, split)
    lineage = None if plan is None else _lineage(plan, split, protocol)
    if inputs is None:
        inputs = _inputs(catalog, split, plan)
    _claim(work, fingerprint("model", settings.model_dump(mode="json"), inputs))
    _seed(settings)
    network = build(
        settings.model,
        classes,
        weights="none" if settings.mode == "scratch" else settings.weights,
        input_size=settings.input_size,
        dropout=settings.dropout,
    )
    seen = replace(network.config, crop=settings.crop, balanced=settings.balanced)
    network = replace(network, config=seen)
    data = CellImages(
        settings,
        catalog,
        split,
        classes=classes,
        view=network.config.view,
        work=work,
        plan=plan,
        bank=bank,
    )
    data.decode()
    keeper = _fit(settings, network, data, work)
    path = _write(out, settings, network, data, keeper, work, protocol, inputs, lineage)
    _clear(work)
    return path


def _inputs(catalog: Catalog, split: Split, plan: Plan | None) -> dict[str, str]:
    found = {"catalog": catalog.fingerprint, "split": split.fingerprint}
    if plan is not None:
        found["plan"] = plan.fingerprint
    return found


def _lineage(plan: Plan, split: Split, protocol: str) -> str:
    """Return the statement on the composites' parents; an honest run has them all in train."""
    from naturalize.compose.lineage import check

    found = check(plan, split)
    if found["outside"] and protocol == "honest":
        raise InputError(
            f"the plan is not honest for this split: {found['statement']}; compose again from a "
            "bank of the train part, or train with protocol 'paper' to measure the leak"
        )
    return found["statement"]


def _claim(work: Path, key: str) -> None:
    """Make ``work`` ours; the state of a run with other settings or data is thrown away."""
    stamp = work / "key.json"
    wanted = json.dumps({"key": key})
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    _clear(work, keep="pixels-*")
    write_bytes(stamp, wanted.encode())


def _clear(work: Path, keep: str | None = None) -> None:
    """Remove what a run leaves in ``work`` (but what ``keep`` matches); a user's files stay."""
    for pattern in _OURS:
        for path in work.glob(pattern) if pattern != keep else ():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def _seed(settings: TrainSettings) -> None:
    import torch

    from naturalize.base.rng import seed_of

    torch.manual_seed(seed_of(settings.seed, "initial weights"))


def _fit(settings: TrainSettings, network: Network, data: CellImages, work: Path) -> Keeper:
    from naturalize.models.zoo import channels_last
    from naturalize.training.framework import pl
    from naturalize.training.imbalance import class_weights
    from naturalize.training.keeper import STATE, Bar, Keeper, kept
    from naturalize.training.network import Classifier

    keeper = Keeper(work)
    before = kept(work)
    if before is not None:
        keeper.load_state_dict(before)
        say(f"going on after epoch {len(keeper.history)} of {settings.epochs}")
        if len(keeper.history) >= settings.epochs:
            return keeper
    weights = None
    if settings.class_weights == "balanced":
        weights = class_weights(data.train.targets, len(data.classes))
    channels_last(network.module)
    module = Classifier(
        network, settings, steps=data.steps, names=data.train.names, class_weights=weights
    )
    module.train()  # Lightning keeps the modes it finds; ours leaves a frozen backbone alone
    with _guarded():
        trainer = pl.Trainer(
            accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}[
                settings.device
            ],
            devices=1,
            precision=_precision(settings),
            max_epochs=settings.epochs,
            gradient_clip_val=settings.clip_norm,
            callbacks=[Bar(f"train {settings.model}", settings.epochs, data.steps), keeper],
            deterministic="warn" if _on_gpu(settings) else None,  # a processor is, unasked
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            default_root_dir=work,
        )
        state = work / STATE
        trainer.fit(module, datamodule=data, ckpt_path=state if before is not None else None)
    return keeper


def _precision(settings: TrainSettings) -> Any:
    import torch

    if settings.precision == "bf16":
        return "bf16-mixed"
    if settings.precision == "auto" and _on_gpu(settings) and torch.cuda.is_bf16_supported():
        return "bf16-mixed"
    return "32-true"


def _on_gpu(settings: TrainSettings) -> bool:
    import torch

    return settings.device in ("auto", "cuda") and torch.cuda.is_available()


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


def _write(
    out: Path,
    settings: TrainSettings,
    network: Network,
    data: CellImages,
    keeper: Keeper,
    work: Path,
    protocol: str,
    inputs: Mapping[str, str],
    lineage: str | None,
) -> Path:
    from collections import Counter

    from safetensors.torch import load_file

    from naturalize.models.folder import save_model
    from naturalize.training.keeper import write_history

    best = keeper.best
    assert best is not None
    network.module.load_state_dict(load_file(work / best["file"]))
    counts = Counter(data.train.targets.tolist())
    training = {
        "settings": settings.model_dump(mode="json"),
        "data": dict(inputs),
        "n_real": data.n_real,
        "n_composites": data.n_composites,
        "counts": {label: counts[i] for i, label in enumerate(data.classes)},
        "samples_per_epoch": data.steps * settings.batch_size,
        "epochs_run": len(keeper.history),
        "best_epoch": best["epoch"],
        **({} if lineage is None else {"lineage": lineage}),
    }
    metrics = {"n": len(data.val), **best["scores"]}
    assert all(math.isfinite(value) for value in metrics.values())
    path = save_model(
        out,
        network.module,
        network.config,
        training=training,
        metrics=metrics,
        protocol=protocol,
        settings={**settings.model_dump(mode="json"), "protocol": protocol},
        inputs=inputs,
        also=lambda folder: write_history(folder, keeper.history, best["epoch"]),
    )
    say(
        f"{settings.model}: best epoch {best['epoch']} of {len(keeper.history)}, validation "
        f"macro-F1 {best['scores']['macro_f1']:.3f}, accuracy {best['scores']['accuracy']:.3f} "
        f"on {len(data.val)} images"
    )
    return path
