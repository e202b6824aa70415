"""What is known of the images of a bank: their light, their red cells, their codec, who is in them.

From the bank's tables, but for the size and the codec of the files, which are looked up, and their
content checked, when a mode first asks for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from weakref import ref

import numpy as np

from naturalize.base.console import track
from naturalize.base.errors import ArtifactError, NaturalizeError
from naturalize.base.images import file_facts

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank

#: Side in pixels of what JPEG codes together, by its chroma sampling; 1 where nothing is.
_UNITS = {"444": (8, 8), "422": (16, 8), "420": (16, 16), "grey": (8, 8)}


@dataclass(frozen=True, eq=False)
class Frames:
    """Files of N images.

    Attributes
    ----------
    size
        Int32 (N, 2): width, height.
    unit
        Int32 (N, 2): width, height in pixels of a coding unit; 1 where there is none.
    encoder
        Int32 (N,): equal numbers came from equal encoders.
    """

    size: np.ndarray
    unit: np.ndarray
    encoder: np.ndarray


@dataclass(frozen=True, eq=False)
class Images:
    """N images, sorted by id.

    Attributes
    ----------
    ids
        Image ids.
    label
        Text (N,): the class of its target cell, empty where none was found.
    light
        Float32 (N, 3): RGB of the bare slide.
    share
        Float32 (N,): share of the image that is bare slide.
    counts
        Kind → int32 (N,): cells that were found, accepted or not.
    red
        Float32 (N, 3): mean optical density of its whole red cells; NaN without one.
    focus
        Float32 (N,): mean logarithm of their sharpness; NaN without one.
    """

    ids: tuple[str, ...]
    label: np.ndarray
    light: np.ndarray
    share: np.ndarray
    counts: dict[str, np.ndarray]
    red: np.ndarray
    focus: np.ndarray
    _read: Callable[[], Frames] = field(repr=False)

    def __len__(self) -> int:
        """Return N."""
        return len(self.ids)

    @cached_property
    def frames(self) -> Frames:
        """Sizes and codecs of the files.

        Raises
        ------
        ArtifactError
            If a file is gone, or has changed since it was segmented; with classes and counts.
        """
        return self._read()

    @classmethod
    def of(cls, bank: CellBank) -> Images:
        """Return the images of ``bank``."""
        grounds = bank.backgrounds.sort_by("image_id")
        ids = grounds["image_id"].to_pylist()
        place = {image_id: i for i, image_id in enumerate(ids)}
        table = bank.table
        owner = np.array([place.get(i, -1) for i in table["image_id"].to_pylist()], np.int64)
        kinds = np.array(table["kind"].to_pylist(), dtype="U8")
        label = np.full(len(ids), "", dtype=object)
        named = [(i, text) for i, text in zip(owner, table["label"].to_pylist(), strict=True)]
        for i, text in named:
            if text is not None and i >= 0:
                label[i] = text
        known = owner >= 0
        whole = known & (kinds == "rbc") & ~table["touches_border"].to_numpy(zero_copy_only=False)
        measures = [table[name].to_numpy() for name in ("od_r", "od_g", "od_b")]
        measures.append(np.log(np.maximum(table["focus"].to_numpy(), 1e-3)))
        means = _means(owner[whole], np.column_stack(measures)[whole], len(ids))
        here = ref(bank)
        return cls(
            ids=tuple(ids),
            label=label.astype("U"),
            light=np.column_stack([grounds[c].to_numpy() for c in "rgb"]).astype(np.float32),
            share=grounds["quality"].to_numpy().astype(np.float32),
            counts={
                kind: np.bincount(owner[known & (kinds == kind)], minlength=len(ids))
                for kind in ("wbc", "rbc", "platelet")
            },
            red=means[:, :3],
            focus=means[:, 3],
            _read=lambda: _frames(here(), ids),
        )


def _means(owner: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the mean of each owner's rows, float32 (n, columns); NaN where it has none."""
    columns = [np.bincount(owner, column, minlength=n) for column in values.T]
    sums = np.stack(columns, axis=1).astype(np.float64)  # of no rows numpy counts in integers
    times = np.bincount(owner, minlength=n)[:, None].astype(np.float64)
    return np.divide(sums, times, out=np.full_like(sums, np.nan), where=times > 0).astype(
        np.float32
    )


def _frames(bank: CellBank | None, ids: Sequence[str]) -> Frames:
    assert bank is not None
    sizes, units, encoders = [], [], []
    wrong: dict[str, NaturalizeError] = {}
    read = dict(
        zip(
            bank.backgrounds["image_id"].to_pylist(),
            bank.backgrounds["path"].to_pylist(),
            strict=True,
        )
    )
    for image_id in track(ids, "look at images"):
        try:
            facts = file_facts(
                bank.pictures.data(read[image_id], image_id, check=True), name=read[image_id]
            )
        except NaturalizeError as error:
            wrong[image_id] = error
            continue
        coded = facts.encoder.startswith("jpeg") and not facts.exif_rotated
        sizes.append((facts.width, facts.height))
        units.append(_UNITS.get(facts.encoder.split("-")[1], (1, 1)) if coded else (1, 1))
        encoders.append(facts.encoder)
    if wrong:
        raise _changed(bank, wrong, ids)
    codes = {name: i for i, name in enumerate(sorted(set(encoders)))}
    return Frames(
        np.array(sizes, np.int32).reshape(-1, 2),
        np.array(units, np.int32).reshape(-1, 2),
        np.array([codes[name] for name in encoders], np.int32),
    )


def check_sources(bank: CellBank, image_ids: Iterable[str]) -> None:
    """Read the files that lend pixels, without decoding them.

    Raises
    ------
    ArtifactError
        If some are gone or have changed since they were segmented: how many of which classes, and
        what is wrong with the first.
    """
    looked = sorted(set(image_ids))
    paths: dict[str, set[str]] = {}
    for table in (bank.backgrounds, bank.cells()):
        columns = (table[name].to_pylist() for name in ("image_id", "path"))
        for image_id, path in zip(*columns, strict=True):
            paths.setdefault(image_id, set()).add(path)
    wrong: dict[str, NaturalizeError] = {}
    for image_id in looked:
        for path in sorted(paths.get(image_id, ())):
            try:
                bank.pictures.data(path, image_id, check=True)
            except NaturalizeError as error:
                wrong.setdefault(image_id, error)
    if wrong:
        raise _changed(bank, wrong, looked)


def _changed(
    bank: CellBank, wrong: dict[str, NaturalizeError], looked: Sequence[str]
) -> ArtifactError:
    """Return the error for images that are not what they were, by class."""
    rows = bank.cells(target=True, accepted=None)
    label = dict(zip(rows["image_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    lost = Counter(label.get(image_id) or "no class" for image_id in wrong)
    total = Counter(label.get(image_id) or "no class" for image_id in looked)
    told = ", ".join(f"class {name}: {n:,} of {total[name]:,}" for name, n in sorted(lost.items()))
    first = next(iter(wrong.values()))
    return ArtifactError(
        f"source images are gone or have changed since they were segmented ({told}); the first: "
        f"{first}"
    )
