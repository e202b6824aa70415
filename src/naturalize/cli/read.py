"""``naturalize read``: every cell of whole fields, counts and a differential."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Device, Engine, ModelOption, Overwrite, ProfileFile, Workers

Fields = Annotated[
    list[Path],
    typer.Argument(help="Images of whole fields and folders of them.", show_default=False),
]


def read(
    fields: Fields,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
    model: ModelOption = "pbc11",
    profile: ProfileFile = None,
    unsure: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence below which a class is flagged.")
    ] = 0.5,
    masks: Annotated[
        bool, typer.Option(help="Write a label image of each field: the numbers of its cells.")
    ] = True,
    overlays: Annotated[
        bool, typer.Option(help="Write each field with outlines and classes drawn.")
    ] = True,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Write a picture of the white cells by class.")
    ] = False,
    coco: Annotated[
        bool, typer.Option("--coco", help="Write all cells as COCO annotations too.")
    ] = False,
    device: Device = "cpu",
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Find every cell of whole fields, name the white ones, and count them.

    OUT/cells.csv has a row a cell: field, number, kind (wbc, rbc, platelet), of white cells class,
    confidence and probabilities, box, area, and a flag that says what to check. OUT/counts.csv has
    a row a field, OUT/differential.csv the classes of each folder of fields with exact intervals.
    Scale and stain are learnt from the fields themselves; no setting is needed.

    A field that shows no smear, is out of focus, or has no white cell gets its outcome in the
    tables and no differential. A run that was stopped goes on where it was, when the same command
    is given again.

    **Examples**

    ```
    naturalize read fields -o reading
    naturalize read slide-1 slide-2 -o reading --sheet --coco
    naturalize read scan.svs -o reading --no-overlays --engine ray
    naturalize read field.tif -o reading --model runs/pbc11/models/plain
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.process import ready_for_networks

    ready_for_networks()
    from naturalize.base.console import result
    from naturalize.base.errors import InputError
    from naturalize.base.images import IMAGE_SUFFIXES
    from naturalize.base.walk import find_images
    from naturalize.fields.pixels import SCANNERS
    from naturalize.fields.read import open_reader
    from naturalize.fields.summary import told, unreadable
    from naturalize.fields.write import Output, common_folder, read_fields

    check_place(out)
    paths = find_images(fields, suffixes=IMAGE_SUFFIXES | SCANNERS)
    predictor, standardiser = open_reader(model, profile, device=device)
    read_fields(
        paths,
        predictor,
        out,
        standardiser=standardiser,
        root=common_folder([path if path.is_dir() else path.parent for path in fields]),
        unsure=unsure,
        output=Output(masks, overlays, sheet, coco),
        backend=engine,
        workers=workers,
    )
    if unreadable(out):
        raise InputError(f"none of {len(paths)} files can be read; see {out / 'counts.csv'}")
    for line in told(out):
        result(line)
    result(f"reading: {out}")
    if sheet:
        result(f"sheet: {out / 'sheet.jpg'}")
