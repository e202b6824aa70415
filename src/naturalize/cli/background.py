"""``naturalize background``: images without their white cells, or without any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Engine, Overwrite, Workers


def background(
    images: Annotated[Path, typer.Argument(help="A folder of images, one image, or a catalog.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    without: Annotated[
        str, typer.Option(help="What to take out: wbc, target (one cell of an image) or all.")
    ] = "wbc",
    segmenter: Annotated[
        str, typer.Option("--segmenter", "-s", help="What finds the cells.")
    ] = "unet",
    sheet: Annotated[
        bool,
        typer.Option(
            "--sheet", help="Write a sheet of images before and after, and their difference."
        ),
    ] = False,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Take the white cells out of images, and restore what was behind them.

    The slide gets the image's own light and grain; red cells that were hidden in part are
    completed. OUT/images has a PNG an image, OUT/backgrounds.parquet a row an image: its quality
    from 0 to 1, whether it can be used as a scene, and if not, why.

    **Examples**

    ```
    naturalize background images -o scenes --sheet
    naturalize background smear.jpg -o bare --without all
    naturalize background runs/catalog -o scenes --without target --workers 4
    ```
    """
    from naturalize.base.artifacts import check_place, read_table
    from naturalize.base.console import result
    from naturalize.cells.segmenters import segmenter as segmenter_named
    from naturalize.inputs.images import open_source
    from naturalize.restoration.write import SCENES, check_without, summary, write_backgrounds

    check_without(without)
    finder = segmenter_named(segmenter)
    check_place(out)
    root, items, inputs = open_source(images)
    write_backgrounds(
        items,
        root,
        finder,
        out,
        inputs=inputs,
        without=without,
        sheet=sheet,
        backend=engine,
        workers=workers,
    )
    for line in summary(read_table(out / "backgrounds.parquet", SCENES)):
        result(line)
    result(f"backgrounds: {out}")
