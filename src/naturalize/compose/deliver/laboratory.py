"""The bank of another laboratory: its images as scenes, training cells as it would have taken them.

Its ``bank`` artifact has the unlabelled images of the laboratory, each with the place that a cell
can take, and a picture of each training cell in their look (:mod:`naturalize.compose.draw.look`).
A cell keeps the id of its training image, so that lineage holds; its own id names the look too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naturalize.base import engine
from naturalize.base.artifacts import (
    fingerprint,
    is_artifact,
    json_bytes,
    link_file,
    read_json,
    read_manifest,
    read_table,
    write_json,
    writing,
)
from naturalize.base.console import say
from naturalize.base.errors import InputError
from naturalize.base.images import content_hash, write_image
from naturalize.base.rng import rng
from naturalize.cells.bank import CellBank
from naturalize.cells.bank.files import IMAGES, crop_path
from naturalize.cells.choose import backgrounds
from naturalize.cells.segmentation import UNSURE, Cell
from naturalize.cells.tables import BACKGROUNDS, BANK, CELLS, OUTCOMES, cell_of, cell_row
from naturalize.compose.draw.look import Look
from naturalize.compose.draw.places import Seen, scene_of
from naturalize.compose.draw.taken import Group, ImageSet, groups_of
from naturalize.imaging.shape import largest_piece

#: What a laboratory's bank has besides the tables of a bank.
ABOUT = "laboratory.json"

#: Pixels around a cell's box, in the laboratory's scale, that its picture has: the slide around a
#: cell goes with it (``compose.paint.surround``).
_MARGIN = 32

#: What is left of the golden ratio: its multiples, modulo 1, fill an interval evenly (Weyl 1916).
_GOLDEN = (5**0.5 - 1) / 2


def laboratory_images(root: Path, cells: Path, name: str) -> ImageSet:
    """Return the images of a ``cells`` artifact below ``root``, without those that are no use.

    Left out are files that cannot be read, and images whose white cells the segmenter is not sure
    of. ``name``: for messages.
    """
    outcomes = read_table(cells / "outcomes.parquet", OUTCOMES)
    sure = outcomes.filter(pc.not_equal(outcomes["outcome"], UNSURE))
    found = ImageSet(root, backgrounds(sure), read_table(cells / "cells.parquet", CELLS), name)
    return found.only(np.ones(found.grounds.num_rows, bool))


def laboratory_bank(
    bank: CellBank,
    images: ImageSet,
    out: str | Path,
    *,
    segmented: str,
    wanted: Mapping[str, int],
    seed: int = 0,
    kept: str | Path | None = None,
    backend: str = "serial",
    workers: int | None = None,
) -> CellBank:
    """Write the bank from which a bank's cells are set into another laboratory's images; open it.

    Parameters
    ----------
    bank
        Of the training images: cells with their classes.
    images
        The laboratory's.
    out
        Folder of the artifact.
    segmented
        Fingerprint of what their cells were read from.
    wanted
        Class → composites that are wanted: as many cells are taken at most, twice as many where
        there are more.
    seed
        Which cells these are.
    kept
        Where an earlier run left the same artifact; it is opened as it is.
    backend, workers
        As for :func:`naturalize.base.engine.map`; they change no byte.

    Raises
    ------
    InputError
        If the bank has no source images or is of another laboratory itself, if no image can be a
        scene, or if no size was measured.
    """
    check_training(bank)
    if not images.grounds.num_rows:
        raise InputError(f"{images.name}: no readable image that could be a scene")
    chosen = _chosen(bank, wanted, seed)
    inputs = {
        "bank": bank.fingerprint,
        "scenes": segmented,
        "cells": content_hash("\n".join(row["cell_id"] for row in chosen).encode()),
    }
    named = fingerprint("bank", {"part": bank.part}, inputs)
    for place in (Path(out), *([Path(kept)] if kept is not None else [])):
        if is_artifact(place, "bank") and read_manifest(place).fingerprint == named:
            return CellBank.load(place)
    made = _Making(bank, images, {"backend": backend, "workers": workers})
    with writing(out, "bank", settings={"part": bank.part}, inputs=inputs) as folder:
        made.write(folder, chosen, inputs)
    return CellBank.load(out)


def scene_images(bank: CellBank) -> list[str]:
    """Return the ids of the laboratory's images in its bank; none of any other bank."""
    if bank.holds != "laboratory":
        return []
    grounds = bank.backgrounds.filter(pc.starts_with(bank.backgrounds["path"], "scenes/"))
    return grounds["image_id"].to_pylist()


def check_training(bank: CellBank) -> None:
    """Raise ``InputError`` for a bank whose cells cannot take the look of a laboratory."""
    if bank.holds == "laboratory":
        raise InputError(
            f"{bank.root}: these cells have the look of another laboratory already; name the bank "
            "of the training images"
        )
    if bank.holds == "crops" or not bank.backgrounds.num_rows:
        raise InputError(
            f"{bank.root}: the bank holds no whole images, so how they were taken cannot be "
            "measured; use a bank that has its source images"
        )


def _chosen(bank: CellBank, wanted: Mapping[str, int], seed: int) -> list[dict[str, Any]]:
    """Return the rows of the target cells that get the laboratory's look, by class and chance."""
    found = []
    for label, n in wanted.items():
        rows = bank.cells(label=label, target=True, whole=True).sort_by("cell_id")
        order = rng(seed, "laboratory", label).permutation(rows.num_rows)[: 2 * n]
        found += rows.take(pa.array(np.sort(order))).to_pylist()
    return found


@dataclass(frozen=True, eq=False)
class _Making:
    """What a laboratory's bank is made of."""

    bank: CellBank
    images: ImageSet
    run: Mapping[str, Any]

    def write(
        self, folder: Path, chosen: Sequence[Mapping[str, Any]], inputs: Mapping[str, str]
    ) -> None:
        """Write tables, pictures and what was measured."""
        training, groups = groups_of(ImageSet.of(self.bank), self.images)
        usual = (training.profile.white_cell or 0.0) * groups[0].look.scale
        scenes, left_out = self._scenes(usual)
        used = {row["image_id"] for row in scenes}
        shares = np.array([len(used & set(group.image_ids)) for group in groups]) / len(used)
        cells, grounds = self._in_look(groups, shares, chosen, folder / IMAGES)
        for row in scenes:
            source = (self.images.root / row["source"]).resolve()
            link_file(source, folder / IMAGES / row["path"])
            grounds.append({name: row[name] for name in BACKGROUNDS.names})
        table = pa.Table.from_pylist([*cells, *_standing(self.images.cells, scenes)], schema=BANK)
        about: dict[str, Any] = {"labels": self.bank.labels, "part": self.bank.part}
        about |= {"inputs": inputs, "holds": "laboratory", "root": folder / IMAGES}
        made = CellBank(table, pa.Table.from_pylist(grounds, schema=BACKGROUNDS), **about)
        made.write_tables(folder, "laboratory")
        facts = [
            {
                "look_id": _name(group.look),
                "look": group.look.as_dict(),
                "profile": asdict(group.profile),
                "scenes": len(used & set(group.image_ids)),
            }
            for group in groups
        ]
        whole = {"name": self.images.name, "training": asdict(training.profile), "groups": facts}
        write_json(folder / ABOUT, {**whole, "left_out": dict(left_out)})
        say(_in_words(self.images.name, groups, len(scenes), left_out))

    def _scenes(self, usual: float) -> tuple[list[dict[str, Any]], Counter[str]]:
        """Return a row for each image that can be a scene, and why the others cannot."""
        of_image: dict[str, list[dict[str, Any]]] = {}
        for row in self.images.cells.to_pylist():
            of_image.setdefault(row["image_id"], []).append(row)
        grounds = self.images.grounds.to_pylist()
        tasks: list[Seen] = [(row, of_image.get(row["image_id"], [])) for row in grounds]
        one = partial(scene_of, root=self.images.root, usual=usual)
        named = _path_of_task
        scenes, left_out = [], Counter[str]()
        for reason, row in engine.map(
            one, tasks, what="look at scenes", chunk=8, name=named, **self.run
        ):
            if row is None:
                left_out[reason] += 1
            else:
                scenes.append(row)
        if not scenes:
            why = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
            raise InputError(f"{self.images.name}: none of its images can be a scene: {why}")
        return scenes, left_out

    def _in_look(
        self,
        groups: Sequence[Group],
        shares: np.ndarray,
        chosen: Sequence[Mapping[str, Any]],
        folder: Path,
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Write the cells' pictures; return their rows, and those of their backgrounds.

        Each group gets its share (``shares``, float (G,)) of every class's cells.
        """
        columns = (self.bank.backgrounds[name].to_pylist() for name in ("image_id", "r", "g", "b"))
        slides = {image_id: slide for image_id, *slide in zip(*columns, strict=True)}
        of_class, tasks = Counter[str](), []
        for row in chosen:
            # a sequence of low discrepancy: any few cells of a class are shared out as all are
            place = (of_class[row["label"]] + 0.5) * _GOLDEN % 1
            group = groups[int((place >= np.cumsum(shares)[:-1]).sum())]
            of_class[row["label"]] += 1
            tasks.append((row, slides[row["image_id"]], group.look))
        one = partial(_cell_in_look, bank=self.bank, folder=folder)
        named = _cell_of_task
        made = engine.map(one, tasks, what="cells in their look", chunk=8, name=named, **self.run)
        cells, grounds = [], {}
        for found, (_, _, look) in zip(made, tasks, strict=True):
            if found is not None:
                cells.append(found)
                image_id = found["image_id"]
                ground = (image_id, image_id, found["path"], *look.slide, 0.0)
                grounds[image_id] = dict(zip(BACKGROUNDS.names, ground, strict=True))
        return cells, list(grounds.values())


#: What a laboratory's bank says of the cells that stand in its images.
_OF_A_SCENE = {"label": None, "target": False, "accepted": False, "reason": "stands in a scene"}


#: And of the one whose place another takes.
_GIVES_WAY = {"target": True, "accepted": True, "reason": None}


def _standing(cells: pa.Table, scenes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, of ``BANK``, of the cells of scenes, and of discs where no white cell is."""
    used = {row["image_id"]: row for row in scenes}
    going = {row["place"] for row in scenes if isinstance(row["place"], str)}
    rows = [
        {**row, "path": used[row["image_id"]]["path"], **_OF_A_SCENE}
        | (_GIVES_WAY if row["cell_id"] in going else {})
        for row in cells.to_pylist()
        if row["image_id"] in used
    ]
    discs = [row for row in scenes if not isinstance(row["place"], str)]
    return rows + [
        {**row["place"], "path": row["path"], "label": None, **_GIVES_WAY} for row in discs
    ]


def _name(look: Look) -> str:
    return content_hash(json_bytes(look.as_dict()))[:8]


def _path_of_task(task: Seen) -> str:
    return str(task[0]["path"])


def _cell_of_task(task: tuple[Mapping[str, Any], Sequence[float], Look]) -> str:
    return f"cell {task[0]['cell_id']}"


def _cell_in_look(
    task: tuple[Mapping[str, Any], Sequence[float], Look], *, bank: CellBank, folder: Path
) -> dict[str, Any] | None:
    """Write a cell's picture in a look; return its row of ``BANK``, null where nothing is left."""
    row, (red, green, blue), look = task
    cut = bank.cutout(row["cell_id"], margin=int(np.ceil(_MARGIN / look.scale)))
    rgb, mask = look.image(cut.rgb, (red, green, blue)), look.mask(cut.mask)
    if not mask.any():
        return None
    nucleus = None
    if row["nucleus"] is not None:
        x0, y0 = row["x0"] - cut.corner[0], row["y0"] - cut.corner[1]
        whole = np.zeros(cut.mask.shape, bool)
        kernel = cell_of(row).nucleus
        assert kernel is not None
        whole[y0 : y0 + kernel.shape[0], x0 : x0 + kernel.shape[1]] = kernel
        nucleus = look.mask(whole)
    cell = Cell.from_mask("wbc", largest_piece(mask), score=row["score"], nucleus=nucleus)
    cell_id = f"{row['cell_id']}@{_name(look)}"
    path = f"cells/{crop_path(cell_id)}"
    write_image(folder / path, rgb)
    made = cell_row(cell_id, row["image_id"], path, rgb, cell, look.slide)
    kept = {
        name: row[name] for name in ("kind", "label", "target", "accepted", "reason", "contact")
    }
    return {**made, **kept}


def _in_words(name: str, groups: Sequence[Group], n: int, left_out: Mapping[str, int]) -> str:
    """Return what was found, in a line."""
    looks = []
    for look in (group.look for group in groups):
        focus = f"blur {look.blur:g} px" if look.blur else f"sharpening {look.sharpening:g}"
        slide = ", ".join(f"{level:.0f}" for level in look.slide)
        looks.append(f"cells × {look.scale:.2f}, {focus}, slide {slide}")
    several = f" in {len(looks)} groups of like light" if len(looks) > 1 else ""
    others = "".join(f"; {n:,} {reason}" for reason, n in sorted(left_out.items()))
    return f"{name}: {n:,} scenes{several}{others}; {' | '.join(looks)}"


def about_laboratory(bank: CellBank) -> dict[str, Any]:
    """Return what was measured when a laboratory's bank was made; empty for any other bank."""
    if bank.holds != "laboratory":
        return {}
    found: dict[str, Any] = read_json(bank.root.parent / ABOUT)
    return found
