"""``naturalize bank``: choose the cells that may be composed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite

#: Accepted target cells of a class below which composites repeat them visibly: 1,000 composites
#: show each of 10 about a hundred times.
_FEW = 10


def bank(
    cells: Annotated[Path, typer.Argument(help="What `naturalize segment` wrote.")],
    catalog: Annotated[Path, typer.Option(help="The catalog of the same images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the bank to.")],
    split: Annotated[
        Path | None, typer.Option(help="A split; cells come from one part of it only.")
    ] = None,
    part: Annotated[str, typer.Option(help="The part, where a split is given.")] = "train",
    self_contained: Annotated[
        bool, typer.Option("--self-contained", help="Copy the source images into the bank.")
    ] = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="Copy a crop of each accepted cell into the bank.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Choose the cells that may be composed, each rejected one with its reason.

    With a split, only images of its train part give cells: no cell of a test image can get into a
    training image. OUT/sheet.jpg shows what was accepted, OUT/rejected.jpg what was not and why.
    A bank points into the images; with --self-contained or --crops it can be sent to somebody else.

    **Examples**

    ```
    naturalize bank runs/cells --catalog runs/catalog --split runs/split -o runs/bank
    naturalize bank runs/cells --catalog runs/catalog -o runs/bank --self-contained
    ```
    """
    from naturalize.base.console import result, warn
    from naturalize.base.errors import SettingsError
    from naturalize.cells.bank import CellBank
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    if self_contained and crops:
        raise SettingsError("name --self-contained or --crops, not both")
    found = CellBank.build(
        cells, Catalog.load(catalog), Split.load(split) if split else None, part=part
    )
    found.save(out, self_contained="crops" if crops else self_contained)
    few = []
    for label in found.labels:
        kept, all_of = (
            found.cells(label=label, target=True, accepted=which).num_rows for which in (True, None)
        )
        result(f"{label}: {kept:,} of {all_of:,} target cells accepted")
        few += [f"{label} ({kept:,})"] if kept < _FEW else []
    if few:
        warn(f"few target cells, each of which composites will show often: {', '.join(few)}")
    result(f"red cells: {found.cells(kind='rbc').num_rows:,} accepted")
    result(f"bank: {out}")
