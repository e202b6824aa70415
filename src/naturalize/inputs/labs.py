"""Several laboratories' labelled images: whose classes are whose, and what was seen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from naturalize.base.console import warn
from naturalize.base.errors import InputError, SettingsError
from naturalize.base.rng import rng
from naturalize.dataset.schemes import meaning
from naturalize.evaluation.laboratory import EXPOSED, Apart, Laboratory
from naturalize.evaluation.labs import read_labs, score_labs
from naturalize.evaluation.merge import Merge
from naturalize.evaluation.mixes import parsed_mixes
from naturalize.evaluation.predictions import Item
from naturalize.inputs.exposure import Seen, stand_apart
from naturalize.inputs.labelled import LabelledData, labelled_data
from naturalize.models.folder import describe
from naturalize.models.predictor import NetworkPredictor, Predictor
from naturalize.models.shipped import DEFAULT, find

#: Training images of a class that a probe is fitted on, at most.
A_CLASS = 500


def labs(
    folders: Sequence[str | Path],
    out: str | Path,
    model: str | Path = DEFAULT,
    *,
    maps: Sequence[str] | str | None = None,
    only_mapped: bool = False,
    encoders: Sequence[str] = (),
    probe: str = "linear",
    train: str | Path | None = None,
    weights: str = "imagenet",
    a_class: int = A_CLASS,
    standardise: str = "auto",
    keep_exposed: bool = False,
    mixes: Sequence[str] = (),
    resamples: int = 2000,
    seed: int = 0,
    device: str = "cpu",
    **reading: Any,
) -> dict[str, Any]:
    """Score one model over several laboratories, write a `labs` artifact, and return ``labs.json``.

    Parameters
    ----------
    folders
        The laboratories: labelled images each, as :func:`naturalize.inputs.labelled.labelled_data`
        opens them.
    out
        Folder to write.
    model
        A model folder, or the name of a shipped model.
    maps
        ``"CLASS=A+B,…"``, for all laboratories, or ``"LABORATORY:CLASS=A+B,…"`` for one: which of
        the model's classes make up one of the images'. Usual names need none.
    only_mapped
        Ask which of the mapped classes it is, as if no other could be.
    encoders, probe, train, weights, a_class
        Networks to stand beside the model, ``linear`` or ``knn`` on their features, the labelled
        training images to fit that on, the networks' weights, and images a class at most.
    standardise, device
        As in `naturalize.prediction.files.predict`.
    keep_exposed
        Score images of the model's training and duplicates too; they are counted anyway.
    mixes
        More class mixes: ``"NAME:neutrophil=0.2,lymphocyte=0.8"``.
    resamples, seed
        Of the intervals.
    reading
        As for :func:`naturalize.inputs.labelled.labelled_data`.

    Raises
    ------
    InputError
        If a folder is named twice, has no labelled image, none of the model's classes, or nothing
        is left to score in it.
    SettingsError
        For a map or a mix that cannot be read, or encoders without ``train``.
    """
    path = find(model)
    predictor = Predictor.load(path, device=device)
    more = parsed_mixes(mixes)
    models: dict[str, NetworkPredictor] = {Path(path).name: predictor}
    seen = Seen(frozenset(predictor.training_images))
    if encoders:
        data = _training_data(train, reading)
        seen = seen.and_of(data)
        models |= _probes(
            encoders, data, predictor, probe, weights, a_class, standardise, device, seed
        )
    elif train is not None:
        raise SettingsError("train: name an encoder to fit on these images (--encoder)")
    classes = {name: one.classes for name, one in models.items()}
    opened = open_labs(
        folders, classes, maps=maps, only=only_mapped, seen=seen, keep=keep_exposed, **reading
    )
    about = {
        "model": Path(path).name,
        "architecture": describe(path).get("architecture"),
        "only_mapped": only_mapped,
        "keep_exposed": keep_exposed,
        "probe": probe if encoders else None,
    }
    score_labs(
        models,
        opened,
        out,
        standardise=standardise,
        more_mixes=more,
        resamples=resamples,
        seed=seed,
        facts=about,
        inputs={f"{lab.name}/{k}": v for lab in opened for k, v in lab.inputs.items()},
    )
    return read_labs(out)


def _training_data(train: str | Path | None, reading: Mapping[str, Any]) -> LabelledData:
    if train is None:
        raise SettingsError("encoders: name the labelled images to fit a probe on (--train)")
    return labelled_data(train, **{**reading, "part": "train"})


def _probes(
    encoders: Sequence[str],
    data: LabelledData,
    model: NetworkPredictor,
    how: str,
    weights: str,
    a_class: int,
    standardise: str,
    device: str,
    seed: int,
) -> dict[str, NetworkPredictor]:
    """Return a probe for each encoder, fitted on at most ``a_class`` images of each class."""
    from naturalize.prediction.probe import fit_probe

    of_class: dict[str, list[Item]] = {}
    for item in data.items:
        of_class.setdefault(item.label, []).append(item)
    images = [
        (data.root / items[i].path, label)
        for label, items in sorted(of_class.items())
        for i in sorted(rng(seed, "probe", label).permutation(len(items))[:a_class])
    ]
    return {
        f"{name}, {'k-NN' if how == 'knn' else how}": fit_probe(
            name,
            images,
            model.config.standard,
            how=how,
            weights=weights,
            standardise=standardise,
            device=device,
        )
        for name in encoders
    }


def open_labs(
    folders: Sequence[str | Path],
    classes: Mapping[str, Sequence[str]],
    *,
    maps: Sequence[str] | str | None = None,
    only: bool = False,
    seen: Seen | None = None,
    keep: bool = False,
    **reading: Any,
) -> list[Laboratory]:
    """Open several laboratories' images for models of these ``classes``; the rest as for `labs`."""
    names = _names(folders)
    chosen = _maps(maps, list(names), only)
    data = {name: labelled_data(folder, **reading) for name, folder in names.items()}
    _say_unused(chosen, data)
    first = next(iter(classes.values()))
    merges = {
        name: {
            model: _merge(name, found.labels, their, chosen[name])
            for model, their in classes.items()
        }
        for name, found in data.items()
    }
    kinds = {name: _kinds(name, found.labels, merges[name], first) for name, found in data.items()}
    apart, left = stand_apart(data, kinds, seen or Seen(), keep)
    everywhere = dict.fromkeys(kind for its in kinds.values() for kind in its.values())
    return [
        Laboratory(
            name,
            found.root,
            _some(name, left[name], apart[name], found),
            merges[name],
            len(left[name]) + sum(not entry.scored for entry in apart[name]),
            apart[name],
            [kind for kind in everywhere if kind not in kinds[name].values()],
            found.inputs,
            source=found,
        )
        for name, found in data.items()
    ]


def _say_unused(chosen: Mapping[str, Merge], data: Mapping[str, LabelledData]) -> None:
    """Warn of classes that were mapped and that no laboratory has."""
    mapped = {label for merge in chosen.values() for label in merge.classes}
    if unused := sorted(mapped - {label for found in data.values() for label in found.labels}):
        warn(f"--map: no laboratory has images of class {', '.join(unused)}")


def _names(folders: Sequence[str | Path]) -> dict[str, Path]:
    """Return name → folder: the last part of each path, and more of it where these are equal."""
    if not folders:
        raise InputError("name one laboratory or more: folders of labelled images")
    whole = [Path(folder).resolve() for folder in folders]
    for i, path in enumerate(whole):
        if path in whole[:i]:
            raise InputError(f"{folders[i]}: is named twice; name each laboratory once")
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["-".join(path.with_suffix("").parts[-depth:]).strip("/") for path in whole]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, map(Path, folders), strict=True))


def _maps(maps: Sequence[str] | str | None, names: Sequence[str], only: bool) -> dict[str, Merge]:
    """Return what the user mapped in each laboratory; its own classes go before those of all."""
    of_all: list[str] = []
    own: dict[str, list[str]] = {name: [] for name in names}
    for text in [maps] if isinstance(maps, str) else maps or ():
        head, sign, rest = text.partition(":")
        if sign and head.strip() in own:
            own[head.strip()].append(rest)
        elif sign and "=" not in head:
            raise SettingsError(
                f"--map {text}: no laboratory is called {head.strip()!r}; they are called "
                f"{', '.join(names)}"
            )
        else:
            of_all.append(text)
    common = Merge.parse(of_all).classes
    return {
        name: Merge(_joined(common, Merge.parse(texts).classes), only)
        for name, texts in own.items()
    }


def _joined(
    common: Mapping[str, tuple[str, ...]], own: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return what is mapped in one laboratory: its own, and of all's what fits beside it."""
    taken = {part for parts in own.values() for part in parts}
    return {name: parts for name, parts in common.items() if not taken & set(parts)} | dict(own)


def _merge(name: str, labels: Sequence[str], classes: Sequence[str], chosen: Merge) -> Merge:
    """Return which of a model's classes make up each of the images'; usual names are recognised."""
    found = dict(chosen.classes)
    home = {part: label for label, parts in found.items() for part in parts}
    for label in labels:
        if label in found:
            continue
        parts = (label,) if label in classes else _meant(label, classes)
        if taken := [part for part in parts if part in home]:
            raise SettingsError(
                f"{name}: {label} and {home[taken[0]]} would both be {taken[0]}; say which of the "
                f"model's classes each is: --map {name}:{label}=…"
            )
        if parts:
            found[label] = parts
            home |= dict.fromkeys(parts, label)
    merge = replace(chosen, classes=found)
    merge.names(classes)  # what does not fit is said before anything is predicted
    return merge


def _meant(label: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a model that a usual name covers.

    Examples
    --------
    >>> _meant("Neutrophil", ["BNE", "EO", "SNE"]), _meant("band", ["neutrophil", "ig"])
    (('BNE', 'SNE'), ())
    """
    whole = meaning(label)
    return tuple(name for name in classes if meaning(name) and meaning(name) <= whole)


def _kinds(
    name: str, labels: Sequence[str], merges: Mapping[str, Merge], classes: Sequence[str]
) -> dict[str, str]:
    """Return class → what it is among the first model's, of those that it knows."""
    merge = next(iter(merges.values()))
    kinds = {label: "+".join(sorted(merge.classes.get(label, ()))) for label in labels}
    known = {label: kind for label, kind in kinds.items() if kind}
    if not known:
        raise InputError(
            f"{name}: none of its classes ({', '.join(labels)}) is one of the model's "
            f"({', '.join(classes)}); say which are which: --map {name}:CLASS=A+B,…"
        )
    return known


def _some(name: str, left: list[Item], apart: Sequence[Apart], found: LabelledData) -> list[Item]:
    """Return the images to score; ``InputError`` if there are none."""
    if left:
        return left
    reasons = dict.fromkeys(entry.reason for entry in apart)
    hint = "; --keep-exposed scores them all the same" if set(reasons) & set(EXPOSED) else ""
    raise InputError(
        f"{name}: nothing is left to score: all {len(found.items)} images are left out "
        f"({', '.join(reasons)}){hint}"
    )
