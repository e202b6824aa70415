"""``naturalize segment``: find the cells of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def segment(
    images: Annotated[Path, typer.Argument(help="A folder of images, one image, or a catalog.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the cells to.")],
    segmenter: Annotated[str, typer.Option("--segmenter", "-s", help="classical.")] = "classical",
    masks: Annotated[
        bool, typer.Option("--masks", help="Write a label image for every image.")
    ] = False,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="Write every image with its outlines drawn.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers; all processors by default.")
    ] = None,
    engine: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
) -> None:
    """Find white cells, red cells and platelets, and write their masks.

    OUT/cells.parquet has a row a cell, OUT/outcomes.parquet a row an image. Label images hold 0 for
    background, 1 for white cells, 2 for red cells, 3 for platelets.

    **Examples**

    ```
    naturalize segment images -o cells --masks --overlays
    naturalize segment smear.jpg -o cells --overlays
    naturalize segment runs/catalog -s classical -o runs/cells --workers 4
    ```
    """
    from naturalize.base.console import say
    from naturalize.cells.segmenters import segmenter as segmenter_named
    from naturalize.cells.source import segment_source, summary

    segment_source(
        images,
        segmenter_named(segmenter),
        out,
        masks=masks,
        overlays=overlays,
        backend=engine,
        workers=workers,
    )
    for line in summary(out):
        say(line)
    say(f"cells: {out}")
