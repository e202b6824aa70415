"""What can be known to be wrong before the first stage, and as soon as the images are listed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from naturalize.base.console import warn
from naturalize.base.errors import (
    InputError,
    MissingExtraError,
    NaturalizeError,
    SettingsError,
    unknown,
)
from naturalize.study.settings import ComposeSettings, StudySettings

if TYPE_CHECKING:
    from naturalize.dataset.catalog import Catalog

#: A warning is due where each training image is drawn more often than this an epoch.
_MANY_DRAWS = 5


def check_study(study: StudySettings) -> None:
    """Check every name and setting that needs no image.

    ``NaturalizeError`` for an unknown segmenter, mode, network, scheme or method of explanation, a
    setting that one of them does not have, absent weights, or a library that is not installed; the
    message begins with the key.
    """
    from naturalize.cells.segmenters import segmenter
    from naturalize.compose.draw.targets import named
    from naturalize.dataset.phantom.write import count_classes
    from naturalize.dataset.readers import READERS
    from naturalize.dataset.schemes import scheme
    from naturalize.dataset.split import checked_fractions
    from naturalize.training import fit

    with _key("data.scheme"):
        scheme(study.data.scheme)
    with _key("data.reader"):
        if study.data.reader not in ("auto", *READERS):
            raise unknown("reader", study.data.reader, ["auto", *READERS])
    with _key("split"):
        checked_fractions(study.split.fractions)
    if study.data.phantom is not None:
        with _key("data.phantom"):
            count_classes(study.data.phantom.per_class)
    if study.compose is not None:
        with _key("segment"):
            segmenter(study.segment.segmenter, **study.segment.settings)
        with _key("compose.name"):
            named(study.compose.name or "1K")
        with _key("compose"):
            _check_compose(study.compose)
    for name, run in study.runs.items():
        with _key(f"runs.{name}"):
            fit.check(run)
    if study.explain is not None and study.explain.methods:
        from naturalize.explain.methods import METHODS

        with _key("explain.methods"):
            for method in study.explain.methods:
                if method not in METHODS:
                    raise unknown("method", method, list(METHODS))
    if study.engine.backend == "ray" and importlib.util.find_spec("ray") is None:
        raise MissingExtraError("Ray", "ray")


def _check_compose(compose: ComposeSettings) -> None:
    """Check the mode of composition and its settings."""
    from naturalize.compose.draw.modes import mode
    from naturalize.inputs.laboratory import check_scenes

    settings = dict(compose.settings)
    reuse, gate = settings.pop("max_reuse", None), settings.pop("gate", False)
    if reuse is not None and (not isinstance(reuse, int) or reuse < 1):
        raise SettingsError(f"max_reuse: expected at least 1, got {reuse!r}")
    if not isinstance(gate, bool):
        raise SettingsError(f"gate: expected true or false, got {gate!r}")
    if compose.scenes is not None:
        if not compose.scenes.exists():
            raise InputError(f"scenes: {compose.scenes}: no such folder")
        settings = check_scenes(compose.mode, settings, gate=gate)
    if not mode(compose.mode, **settings).about_one:
        raise SettingsError(
            f"mode {compose.mode}: a study trains on composites of one cell each; "
            "choose another mode, and compose fields with naturalize compose"
        )


@contextmanager
def _key(key: str) -> Iterator[None]:
    """Begin the message of an error within with the key that it is about."""
    try:
        yield
    except MissingExtraError:
        raise
    except NaturalizeError as error:
        raise type(error)(f"{key}: {error}") from error


def check_classes(study: StudySettings, catalog: Catalog) -> None:
    """Check what a study says about classes against those of its images.

    ``InputError`` or ``SettingsError`` for a class that is unknown or has no image.
    """
    from naturalize.compose.draw.modes import mode
    from naturalize.compose.draw.targets import chosen_classes

    counts = catalog.counts()
    having = [label for label, n in counts.items() if n]
    if study.compose is not None:
        with _key("compose.classes"):
            default = mode(study.compose.mode).default_classes(having)
            for label in chosen_classes(study.compose.classes, catalog.labels, default):
                if not counts[label]:
                    raise InputError(f"class {label!r} has no image; leave it out")
    if study.protocol == "paper":
        return
    n_train = sum(counts.values()) * study.split.fractions[0] / sum(study.split.fractions)
    for run, settings in study.runs.items():
        asked = settings.samples_per_epoch
        if not isinstance(asked, int) or settings.composites:
            continue
        if asked > _MANY_DRAWS * n_train:
            warn(
                f"runs.{run}.samples_per_epoch: {asked:,} images an epoch from about "
                f"{n_train:,.0f} training images; each is drawn {asked / n_train:.0f} times"
            )
