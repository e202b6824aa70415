"""``train``: from catalog, split and plan to a model folder, resumable after a kill at any time."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from naturalize.base import process
from naturalize.base.artifacts import fingerprint, read_manifest, write_bytes
from naturalize.base.console import say
from naturalize.base.errors import InputError
from naturalize.base.shards import LOCK, claim, locked
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.split import Split
from naturalize.training.settings import TrainSettings

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan
    from naturalize.models.config import Network, NetworkConfig, Standard
    from naturalize.training.data import CellImages
    from naturalize.training.loop import Run

#: What a run writes into its work folder.
_OURS = (
    "key.json",
    LOCK,
    "pixels-*",
    "features-*",
    "crops",
    ".crops.*",
    "state.ckpt",
    "best-*",
    "pieces.json",
    "meeting",
    ".*.partial",
)


def check(settings: TrainSettings) -> None:
    """Find out, before anything long runs, whether a network can be trained so on this machine.

    An error for an unknown model, a size or option that it cannot take, weights that are absent or
    (where they are to be fetched, which is done here) cannot be fetched, a device that is not
    there, or a logger that is not installed.
    """
    from naturalize.models.names import resolve
    from naturalize.models.zoo import build
    from naturalize.training import loggers
    from naturalize.training.devices import place

    loggers.check(settings)
    place(settings.device)
    resolve(settings.model)
    build(
        settings.model,
        2,
        weights="none" if settings.weights == "auto" else settings.weights,
        input_size=settings.input_size,
        dropout=settings.dropout,
        options=settings.network_options,
    )


def train(
    settings: TrainSettings,
    catalog: Catalog,
    split: Split,
    *,
    plan: Plan | None = None,
    bank: CellBank | None = None,
    laboratory: CellBank | None = None,
    out: str | Path,
    work: str | Path | None = None,
    protocol: str = "honest",
    inputs: Mapping[str, str] | None = None,
    elsewhere: Path | None = None,
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
    laboratory
        Where composites stand in another laboratory's images, the bank that the plan was drawn
        from; ``bank`` is then that of the training images.
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
    elsewhere
        The model folder that ``settings.elsewhere`` means; in a study it is a run's. It is copied
        into ``out``, to answer there for standardised images.

    Raises
    ------
    InputError
        For a class without training images, an empty part, or a plan that does not fit.
    SettingsError
        For an unknown model or absent weights, or where ``elsewhere`` has other classes.
    NaturalizeError
        If the loss is no number any more, with the step and the images of the batch.
    """
    process.ready_for_networks()
    process.use_threads()
    from naturalize.models.folder import check_elsewhere
    from naturalize.models.shipped import find
    from naturalize.training import loggers, processes
    from naturalize.training.data import check_composites, classes_of
    from naturalize.training.devices import place
    from naturalize.training.loop import Run, carry_out

    out = Path(out)
    work = Path(work) if work is not None else out.with_name(f".{out.name}.work")
    loggers.check(settings)
    check_composites(settings, plan, bank)
    if plan is not None:
        plan.check_about_one("train")
    if not settings.composites:
        plan = None
    run = Run(
        settings,
        catalog,
        split,
        classes=classes_of(catalog, split),
        plan=plan,
        bank=bank,
        place=place(settings.device),
        work=work,
        logs=(out.parent, out.name),
        laboratory=laboratory,
    )
    if elsewhere is None and settings.elsewhere is not None:
        elsewhere = find(settings.elsewhere)
    if elsewhere is not None:
        check_elsewhere(elsewhere, run.classes)
    lineage = None if plan is None else _lineage(plan, split, protocol, laboratory)
    if inputs is None:
        read = {"catalog": catalog, "split": split, "plan": plan}
        inputs = {name: each.fingerprint for name, each in read.items() if each is not None}
        if elsewhere is not None:
            inputs["elsewhere"] = read_manifest(elsewhere, "model").fingerprint
    with processes.under_torchrun(run.place) as where, ExitStack() as stack:
        run = replace(run, place=where)
        if processes.rank() == 0:
            stack.enter_context(locked(work))
            key = fingerprint("model", settings.model_dump(mode="json"), inputs)
            kept = {"pixels-*", LOCK}
            claim(work, {"key": key}, [pattern for pattern in _OURS if pattern not in kept])
        processes.wait()
        network = run.network()
        data = run.data(network)
        data.decode()
        network = carry_out(run, network, data)
        if processes.rank() > 0:
            return out
        network = replace(network, config=replace(network.config, standard=_standard(run)))
        path = _write(out, run, network, data, protocol, inputs, lineage, elsewhere)
    _clear(work)
    return path


def _lineage(plan: Plan, split: Split, protocol: str, laboratory: CellBank | None) -> str:
    """Return the statement on the composites' parents; an honest run has them all in train."""
    from naturalize.compose.deliver.laboratory import scene_images
    from naturalize.compose.recipe.plan import check

    found = check(plan, split, scene_images(laboratory) if laboratory is not None else ())
    if found["outside"] and protocol == "honest":
        raise InputError(
            f"the plan is not honest for this split: {found['statement']}; compose again from a "
            "bank of the train part, or train with protocol 'paper' to measure the leak"
        )
    return found["statement"]


def _standard(run: Run) -> Standard | None:
    """Return what the training images look like, as far as a bank of them tells."""
    from naturalize.prediction.standard import measure_standard

    if run.bank is None:
        return None
    try:
        return measure_standard(run.catalog, run.bank, alone=run.settings.augment.masks)
    except InputError:  # too few cells to measure, as in banks made for a test
        return None


def _clear(work: Path) -> None:
    """Remove what a run leaves in ``work``; a user's files stay."""
    for pattern in _OURS:
        for path in work.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def _finished(run: Run, network: Network, data: CellImages, weights: Path) -> NetworkConfig:
    """Load the best weights, and fit on the validation images what says how sure to be."""
    from safetensors.torch import load_file
    from scipy.special import softmax

    from naturalize.models.doubt import fit_doubt
    from naturalize.training.features import learning_part
    from naturalize.training.learner import answers_to, validation_temperature

    settings = run.settings
    learnt = learning_part(network, settings.mode, settings.dropout)
    learnt.module.load_state_dict(load_file(weights))
    logits, targets = answers_to(network, data.val_dataloader())
    temperature, elsewhere = validation_temperature(logits, targets), None
    if settings.augment.microscopes and settings.mode != "transfer":
        elsewhere = validation_temperature(*answers_to(network, data.elsewhere()))
    doubt = fit_doubt(data.classes, logits, softmax(logits / temperature, axis=1), targets)
    return replace(
        network.config, temperature=temperature, temperature_elsewhere=elsewhere, doubt=doubt
    )


def _write(
    out: Path,
    run: Run,
    network: Network,
    data: CellImages,
    protocol: str,
    inputs: Mapping[str, str],
    lineage: str | None,
    elsewhere: Path | None,
) -> Path:
    from collections import Counter

    from naturalize.models.folder import TRAINING_IMAGES, save_model
    from naturalize.training.checkpoint import Checkpoint, write_history

    settings, checkpoint = run.settings, Checkpoint(run.work, run.settings)
    history, best = checkpoint.history, checkpoint.best
    assert best is not None
    config = _finished(run, network, data, run.work / best["file"])
    counts = Counter(data.train.targets.tolist())
    training = {
        "settings": settings.model_dump(mode="json"),
        "data": dict(inputs),
        "n_real": data.n_real,
        "n_composites": data.n_composites,
        "counts": {label: counts[i] for i, label in enumerate(data.classes)},
        "samples_per_epoch": data.steps * settings.batch_size,
        "epochs_run": len(history),
        "best_epoch": best["epoch"],
        **({} if lineage is None else {"lineage": lineage}),
    }

    def also(folder: Path) -> None:
        write_history(folder, history, best["epoch"])
        used = sorted({*run.split.ids("train"), *run.split.ids("val")})
        write_bytes(folder / TRAINING_IMAGES, ("\n".join(used) + "\n").encode())

    metrics = {"n": len(data.val), **best["scores"]}
    assert all(math.isfinite(value) for value in metrics.values())
    path = save_model(
        out,
        network.module,
        config,
        training=training,
        metrics=metrics,
        protocol=protocol,
        settings={**settings.model_dump(mode="json"), "protocol": protocol},
        inputs=inputs,
        also=also,
        elsewhere=elsewhere,
    )
    say(
        f"{settings.model}: best epoch {best['epoch']} of {len(history)}, validation "
        f"macro-F1 {best['scores']['macro_f1']:.3f}, accuracy {best['scores']['accuracy']:.3f} "
        f"on {len(data.val)} images"
    )
    return path
