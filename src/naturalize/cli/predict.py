"""``naturalize predict``: images to a table of classes and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="Image files and folders of them.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model folder, or the name of a shipped model.")
    ] = "pbc11",
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write.")] = Path(
        "predictions.csv"
    ),
    standardise: Annotated[
        str,
        typer.Option(help="Bring images from elsewhere to the model's: auto, always or never."),
    ] = "auto",
    unsure: Annotated[
        float, typer.Option(min=0, max=1, help="Confidence below which a row is flagged.")
    ] = 0.5,
    sheet: Annotated[
        Path | None,
        typer.Option(help="Picture to write: the least confident first.", show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images a pass.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    engine: Annotated[
        str,
        typer.Option(
            help="What runs the network: onnx (fast on a processor, needs no PyTorch), torch, or "
            "auto (onnx if the model has a graph and the device is cpu)."
        ),
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Say for each image which cell it shows, and how sure the model is.

    Without --model, the model of 11 classes that comes with the package says it; nothing is
    downloaded. Writes one row an image, in the order given (folders sorted by path): path, label,
    confidence, prob_CLASS for each class, flag. The flag says what to know of a row: standardised,
    no white cell found, cell cut by the border, N white cells, unsure; a file that cannot be read
    is a row with its error there.

    Images that do not look like those the model was trained on are standardised first: the white
    cell is found and set in the middle, scale and stain are brought to the model's.

    **Examples**

    ```
    naturalize predict images -o predictions.csv
    naturalize predict images --sheet predictions.jpg
    naturalize predict a.jpg b.png --standardise never
    naturalize predict images --model runs/pbc11/models/plain
    naturalize predict images --model runs/pbc11/models/plain --device cuda
    ```
    """
    from naturalize.base.artifacts import check_file, write_bytes
    from naturalize.base.console import say, warn
    from naturalize.base.errors import InputError
    from naturalize.base.process import keep_memory, wait_calmly
    from naturalize.models.predictor import Predictor

    keep_memory()
    wait_calmly()
    from naturalize.base.walk import find_images
    from naturalize.prediction.files import predict_files, to_csv
    from naturalize.prediction.standardise import Standardiser

    for file in (out, sheet):
        if file is not None:
            check_file(file)
    paths = find_images(images)
    predictor = Predictor.load(model, device=device, engine=engine)
    standardiser = Standardiser(predictor.config.standard, standardise).learn(paths)
    found = predict_files(
        predictor, paths, batch=batch, standardiser=standardiser, unsure=unsure, what="predict"
    )
    rows = list(found)
    write_bytes(out, to_csv(predictor.classes, rows).encode())
    bad = [row for row in rows if row.error]
    if len(bad) == len(rows):
        raise InputError(f"none of {len(rows)} files can be read; see the column flag in {out}")
    if bad:
        warn(f"{len(bad)} of {len(rows)} files could not be read: {bad[0].path}: {bad[0].error}")
    foreign = sum("standardised" in row.flags for row in rows)
    if foreign:
        say(
            f"{foreign} of {len(rows)} images do not look like the training images and were "
            "standardised; the figures on the model card do not hold for them"
        )
    if sheet is not None:
        from naturalize.base.images import write_image
        from naturalize.prediction.sheet import prediction_sheet

        write_image(sheet, prediction_sheet(rows, standardiser, predictor.config.view))
        say(f"sheet: {sheet}")
    say(f"predictions of {len(rows) - len(bad)} images: {out}")
