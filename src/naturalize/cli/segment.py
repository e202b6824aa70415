"""``naturalize segment``: find the cells of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Engine, Overwrite, Workers


def segment(
    images: Annotated[Path, typer.Argument(help="A folder of images, one image, or a catalog.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the cells to.")],
    segmenter: Annotated[
        str, typer.Option("--segmenter", "-s", help="What finds the cells: unet, sam or classical.")
    ] = "unet",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the segmenter, e.g. cell_size=75."
        ),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write a label image for every image.")
    ] = False,
    overlays: Annotated[
        bool,
        typer.Option("--overlays", help="Write every image with its outlines drawn, and a sheet."),
    ] = False,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Find white cells, red cells and platelets, and write their masks.

    OUT/cells.parquet has a row a cell, OUT/outcomes.parquet a row an image, those that cannot be
    read or show no cell included. Label images hold 0 for background, 1 for white cells, 2 for red
    cells, 3 for platelets. Images of any size may be given: whole fields are segmented in tiles.

    A run that was stopped goes on where it was, when the same command is given again.

    **Examples**

    ```
    naturalize segment images -o cells --masks --overlays
    naturalize segment smear.jpg -o cells --overlays --set cell_size=110
    naturalize segment runs/catalog -s classical -o runs/cells --workers 4
    naturalize segment images -s sam --set mode=everything -o cells-sam
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import result
    from naturalize.cells.segmenters import segmenter as segmenter_named
    from naturalize.cli.keyvalue import settings_of
    from naturalize.inputs.images import segment_source, summary

    check_place(out)
    segment_source(
        images,
        segmenter_named(segmenter, **settings_of(settings or [], example="cell_size=75")),
        out,
        masks=masks,
        overlays=overlays,
        backend=engine,
        workers=workers,
    )
    for line in summary(out):
        result(line)
    result(f"cells: {out}")
    if (out / "sheet.jpg").is_file():
        result(f"picture: {out / 'sheet.jpg'}")
