"""``adapt``: a model and a laboratory's images to a model folder that is fitted to them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from naturalize.adaptation.check import Check, check
from naturalize.adaptation.head import Head, adapted, as_sure_as
from naturalize.adaptation.read import Seen, cells_of, learnt, read_images
from naturalize.base.artifacts import (
    MANIFEST,
    check_place,
    file_hash,
    read_json,
    read_manifest,
    write_bytes,
    write_json,
    writing,
)
from naturalize.base.console import say
from naturalize.base.errors import ArtifactError, InputError, SettingsError, unknown
from naturalize.base.walk import find_images
from naturalize.evaluation.merge import Merge
from naturalize.inputs.labelled import labelled_data
from naturalize.models.ensemble import has_graph, is_ensemble
from naturalize.models.folder import ELSEWHERE, GRAPH, MODEL, WEIGHTS, elsewhere_of
from naturalize.models.identity import layout
from naturalize.models.predictor import Predictor
from naturalize.models.shipped import find

#: Fewer cells say too little of a laboratory.
LEAST = 32

#: What ``model.json`` says of the method.
METHOD = "label spreading, last layer fitted to it"

#: The most that the last layer's own logits may differ from the network's.
_LINEAR = 1e-3


@dataclass(frozen=True)
class Adapted:
    """What was written: the folder, how it did in the cross-check, and from how many cells.

    ``left_out`` says of how many pictures nothing was learnt, by reason; ``absent`` names classes
    of the model of which no label was given, where some were.
    """

    path: Path
    check: Check
    cells: int
    labelled: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()

    @property
    def helped(self) -> bool:
        """Whether the model in ``path`` is another one than before."""
        return self.check.helped


def adapt(
    model: str | Path,
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    labels: str | Path | None = None,
    merge: Merge | str | Sequence[str] | None = None,
    profile: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Adapted:
    """Fit a model to a laboratory by its unlabelled images, and write it as a model folder.

    Only the last layer changes (see :mod:`naturalize.adaptation.head`), of the network that answers
    for these images: of a model of two, the one for standardised images, unless they look like the
    training images. Where the cross-check says that it did not help, the folder holds the model as
    it was, and says so.

    Parameters
    ----------
    model
        A model folder whose last layer is linear, or the name of a shipped model.
    images
        Files and folders of the laboratory's images, 32 cells or more, of its usual class mix.
    out
        The model folder to write.
    labels
        Labelled cells of the laboratory: a folder of class folders, or a table with the columns
        path and label.
    merge
        Which of the model's classes a label means, as ``evaluate --map`` takes it.
    profile
        The file of a laboratory profile; by default one is measured on these images.
    device
        A torch device.
    seed
        Of the halves and folds of the cross-check.

    Raises
    ------
    InputError
        With fewer than 32 cells, or one picture that has two labels.
    SettingsError
        For an ensemble, a network whose last layer is not linear, or a label that is no class.
    """
    path, out = find(model), Path(out)
    if is_ensemble(path):
        raise SettingsError(f"{path}: an ensemble has no last layer; adapt its members, and join "
                            "them anew with naturalize ensemble")  # fmt: skip
    whole = Predictor.load(path, device=device, engine="torch")
    chosen = merge if isinstance(merge, Merge) else Merge.parse(merge)
    chosen.names(whole.classes)
    check_place(out)
    labelled, meant = _labels(labels, chosen, whole.classes)
    paths = find_images([images] if isinstance(images, str | Path) else images)
    standardiser = learnt(whole.config.standard, [*(p for p, _ in labelled), *paths], profile)
    # images that look like the training images have no profile: the model itself answers for them
    part = elsewhere_of(path) if standardiser.profile is not None else None
    predictor: Any = whole if part is None else whole.elsewhere
    head, names = last_layer(predictor)
    seen = read_images(predictor, paths, labelled, standardiser, only=part is not None)
    n = len(seen.pixels)
    if n < LEAST:
        why = ", ".join(f"{n} {reason}" for reason, n in seen.left_out.items())
        raise InputError(
            f"{n} cells to adapt to{f' (left out: {why})' if why else ''}; {LEAST} are needed, "
            "better 200"
        )
    cells = cells_of(predictor, seen, meant)
    say(f"{n} cells: fit the last layer, and cross-check it")
    found = check(cells, head, seed)
    new = adapted(cells, head) if found.helped else head
    if found.helped and labelled:
        new = as_sure_as(cells, new, found.stability)
    counts = Counter(label for label in seen.labels if label is not None)
    named = {part for label in counts for part in meant[label]}
    absent = tuple(name for name in whole.classes if counts and name not in named)
    result = Adapted(out, found, n, dict(counts), dict(seen.left_out), absent)
    record = {
        "from": read_manifest(path, "model").fingerprint,
        "method": METHOD,
        "cells": n,
        "labelled": result.labelled,
        "map": chosen.described(),
        "left_out": result.left_out,
        "seed": seed,
        "helped": found.helped,
        "check": asdict(found),
    }
    _write(out, path, part or path, new, names, record, seen)
    return result


def last_layer(predictor: Any) -> tuple[Head, tuple[str, str]]:
    """Return a network's last layer, and what its weights and bias are called.

    ``SettingsError`` unless the logits are a linear function of the predictor's features.
    """
    from torch import nn

    module = predictor.module
    last = module.get_classifier() if hasattr(module, "get_classifier") else None
    where = f"{predictor.config.architecture}: "
    if not isinstance(last, nn.Linear) or last.bias is None:
        raise SettingsError(
            where + "its last layer is not linear with a bias; it cannot be adapted"
        )
    weights, bias = (each.detach().cpu().double().numpy() for each in (last.weight, last.bias))
    config = predictor.config
    head = Head(weights, bias, config.temperature)
    side = config.input_size
    grey = [np.full((side, side, 3), level, np.uint8) for level in (90, 200)]
    found = np.exp(head.logits(predictor.features(grey).astype(float)))
    expected = predictor.probabilities(grey)
    if np.abs(found / found.sum(axis=1, keepdims=True) - expected).max() > _LINEAR:
        raise SettingsError(where + "its last layer does more than it says; it cannot be adapted")
    prefix = next(name for name, each in module.named_modules() if each is last)
    if config.temperature_elsewhere is not None:
        head = replace(head, temperature=config.temperature_elsewhere)
    return head, (f"{prefix}.weight", f"{prefix}.bias")


def _parts(label: str, merge: Merge, classes: Sequence[str]) -> tuple[str, ...]:
    parts = merge.classes.get(label, (label,))
    if parts == (label,) and label not in classes:
        error = unknown("class", label, [*merge.classes, *classes])
        raise SettingsError(f"--labels: {error}; say with --map which of the model's it is")
    return parts


def _labels(
    source: str | Path | None, merge: Merge, classes: Sequence[str]
) -> tuple[list[tuple[Path, str]], dict[str, tuple[str, ...]]]:
    """Return the file and label of each labelled cell, and the classes that each label means."""
    if source is None:
        return [], {}
    found = labelled_data(source, part="all", backend="serial")
    if len(found.labels) < 2:
        raise InputError(f"{source}: labels of one class only; two or more are needed")
    meant = {label: _parts(label, merge, classes) for label in found.labels}
    return [(found.root / item.path, item.label) for item in found.items], meant


def _write(
    out: Path,
    path: Path,
    part: Path,
    head: Head,
    names: tuple[str, str],
    record: Mapping[str, Any],
    seen: Seen,
) -> None:
    """Write a model folder with another last layer in one of its networks, ``part``.

    All other bytes of its files stay.
    """
    manifest = read_manifest(path, "model")
    inputs = {**manifest.inputs, "model": manifest.fingerprint, "images": seen.digest}
    settings = {**manifest.settings, "adapted": dict(record)}
    with writing(out, "model", settings=settings, inputs=inputs) as folder:
        shutil.copytree(path, folder, dirs_exist_ok=True)
        (folder / MANIFEST).unlink()
        write_json(folder / MODEL, {**read_json(path / MODEL), "adapted": dict(record)})
        if not record["helped"]:
            return
        if part == path:
            _write_layer(part, folder, head, names)
            return
        inner = read_manifest(part, "model")
        about = {**inner.settings, "adapted": dict(record)}
        with writing(folder / ELSEWHERE, "model", settings=about, inputs=inner.inputs) as away:
            shutil.copytree(part, away, dirs_exist_ok=True)
            (away / MANIFEST).unlink()
            _write_layer(part, away, head, names)


def _write_layer(path: Path, folder: Path, head: Head, names: tuple[str, str]) -> None:
    """Write the last layer of the network in ``path`` anew into its copy ``folder``."""
    data = bytearray((path / WEIGHTS).read_bytes())
    for name, values in zip(names, (head.weights, head.bias), strict=True):
        _replace(data, path / WEIGHTS, name, values)
    write_bytes(folder / WEIGHTS, bytes(data))
    # sets and limit are of the old layer's answers
    write_json(folder / MODEL, {**read_json(folder / MODEL), "doubt": None})
    if has_graph(path):  # it names its weights by their hash, and a tensor by its place
        old, new = (file_hash(each / WEIGHTS).encode() for each in (path, folder))
        write_bytes(folder / GRAPH, (path / GRAPH).read_bytes().replace(old, new))


def _replace(data: bytearray, file: Path, name: str, values: np.ndarray) -> None:
    """Put a tensor's new numbers in the place of the old ones, in the type that they had."""
    there = layout(file)[name]
    if there.dtype not in ("float16", "float32", "float64") or there.shape != values.shape:
        raise ArtifactError(f"{file}: {name} is {there.dtype} {there.shape}; it cannot be adapted")
    made = values.astype(there.dtype)
    if not np.isfinite(made).all():
        raise ArtifactError(f"{file}: {name} does not fit into {there.dtype} when adapted")
    data[there.offset : there.offset + there.length] = made.tobytes()
