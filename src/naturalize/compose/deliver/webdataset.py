"""``webdataset``: tar files that are read from one end to the other, for training at any scale.

The layout is that of WebDataset (Aizman, Maltby & Breuel, High performance I/O for large scale deep
learning, IEEE Big Data 2019): files of one sample stand together and share their name up to the
first dot.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from naturalize.base.artifacts import link_file, write_json
from naturalize.base.errors import unknown
from naturalize.base.images import encode_image
from naturalize.base.rng import rng
from naturalize.compose.deliver.files import FORMATS
from naturalize.compose.deliver.rendering import Painter, Rendering, Writer
from naturalize.compose.recipe.recipe import Recipe

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

#: Bytes that a shard has at most, unless one sample alone has more.
SHARD_BYTES = 256 * 2**20

#: Suffix and bytes of each file of a sample.
Sample = list[tuple[str, bytes]]


class WebDataset(Writer):
    """Tar shards, ``shards/composites-000000.tar``, ….

    A sample is ``<recipe_id>.jpg`` (or ``.png``), ``.cls`` (number of its class in the bank's
    ``labels``) and ``.json`` (``recipe_id``, ``label``, ``class``, ``mode``, ``parents``).
    Recipes are shuffled, always in the same way, so that each shard holds all classes.
    ``shards.json`` lists ``labels`` and shards. No times, no owners: the same plan gives the same
    bytes. Shards that a killed run finished are kept. ``masks`` adds the truth:
    ``<recipe_id>.instances.png`` (uint16: 0 background, one number a cell) and ``cells`` in the
    JSON: ``instance``, ``kind``, ``label``, ``cell_id``, ``box``.
    """

    name: ClassVar[str] = "webdataset"

    #: Most that a shard has; a sample that is larger has a shard of its own.
    shard_bytes: Annotated[int, Field(ge=tarfile.RECORDSIZE)] = SHARD_BYTES

    def check(self, plan: Plan, bank: CellBank) -> None:
        """Raise ``SettingsError`` for a class that the bank does not have: it has no number."""
        for label in plan.targets:
            if label not in bank.labels:
                raise unknown("class", label, list(bank.labels))

    def fill(self, job: Rendering) -> None:
        """Write the shards."""
        plan, labels = job.plan, job.bank.labels
        order = rng(0, "shards", plan.fingerprint).permutation(len(plan)).tolist()
        masks = [".instances.png"] if self.masks else []
        suffixes = [FORMATS[self.format], ".cls", ".json", *masks]
        shards = Shards(
            job.work / "shards", self.shard_bytes, [plan.ids[i] for i in order], suffixes
        )
        left = order[shards.written :]
        paint = partial(_sample, job.painter, tuple(labels), self.masks)
        with shards:
            for sample in job.each(paint, left, n=len(left), what="render"):
                shards.add(sample)
        for file in shards.files:
            link_file(file, job.folder / "shards" / file.name)
        about = [
            {"file": f"shards/{file.name}", "samples": n, "bytes": file.stat().st_size}
            for file, n in zip(shards.files, shards.samples, strict=True)
        ]
        write_json(
            job.folder / "shards.json",
            {"labels": list(labels), "samples": len(plan), "shards": about},
        )


def _sample(painter: Painter, labels: tuple[str, ...], masks: bool, recipe: Recipe) -> Sample:
    """Return the files of a recipe."""
    code = labels.index(recipe.label)
    said: dict[str, Any] = {
        "recipe_id": recipe.recipe_id,
        "label": recipe.label,
        "class": code,
        "mode": recipe.mode,
        "parents": sorted(recipe.parents()),
    }
    more: Sample = []
    if masks:
        found = painter.truth(recipe)
        said["cells"] = [cell._asdict() for cell in found.cells]
        more = [(".instances.png", encode_image(found.instances, "png"))]
    return [
        (FORMATS[painter.writer.format], painter.image(recipe)),
        (".cls", str(code).encode()),
        (".json", json.dumps(said).encode()),
        *more,
    ]


class Shards:
    """Tar files of at most ``most`` bytes in ``folder``; finished ones are taken again.

    ``ids`` are those of the samples that shall be in them, in order, ``suffixes`` those of the
    files of each sample.
    """

    def __init__(self, folder: Path, most: int, ids: Sequence[str], suffixes: list[str]) -> None:
        self.folder, self.most, self.ids, self.suffixes = folder, most, ids, suffixes
        self.files: list[Path] = []
        self.samples: list[int] = []
        self._open: tarfile.TarFile | None = None
        self._n = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._find()

    @property
    def written(self) -> int:
        """Samples that stand in finished shards."""
        return sum(self.samples)

    def _find(self) -> None:
        """Take the shards that a killed run finished."""
        while (file := self._file(len(self.files))).is_file():
            names = _names(file)
            n, rest = divmod(len(names), len(self.suffixes))
            here = self.ids[self.written : self.written + n]
            if rest or not n or names != [f"{i}{end}" for i in here for end in self.suffixes]:
                file.unlink()
                return
            self.files.append(file)
            self.samples.append(n)

    def _file(self, number: int) -> Path:
        return self.folder / f"composites-{number:06d}.tar"

    @property
    def _growing(self) -> Path:
        return self.folder / ".growing.partial"

    def add(self, sample: Sample) -> None:
        """Append a sample."""
        if self._open is not None and self._size(sample) > self.most:
            self._finish()
        if self._open is None:
            self._open = tarfile.TarFile(self._growing, "w", format=tarfile.USTAR_FORMAT)
        key = self.ids[self.written + self._n]
        for suffix, data in sample:
            member = tarfile.TarInfo(f"{key}{suffix}")  # no time, no owner
            member.size = len(data)
            self._open.addfile(member, io.BytesIO(data))
        self._n += 1

    def _size(self, sample: Sample) -> int:
        """Return what the open shard would have with one more sample, closed."""
        assert self._open is not None
        block, record = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
        more = sum(block + -(-len(data) // block) * block for _, data in sample)
        return -(-(self._open.offset + more + 2 * block) // record) * record

    def _finish(self) -> None:
        if self._open is None:
            return
        self._open.close()
        self._open = None
        file = self._file(len(self.files))
        self._growing.replace(file)
        self.files.append(file)
        self.samples.append(self._n)
        self._n = 0

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._open is not None:
            self._open.close()


def _names(file: Path) -> list[str]:
    try:
        with tarfile.open(file) as tar:
            return tar.getnames()
    except (tarfile.TarError, OSError, EOFError):
        return []
