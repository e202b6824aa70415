"""``naturalize predict``: a model and images to a table of classes and probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    images: Annotated[
        list[Path], typer.Argument(help="Image files and folders of them.", show_default=False)
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="A model folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write.")] = Path(
        "predictions.csv"
    ),
    batch: Annotated[int, typer.Option(min=1, help="Images a pass.")] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
) -> None:
    """Say for each image which cell it shows, and how sure the model is.

    Writes one row an image, in the order given (folders sorted by path): path, label, confidence,
    prob_CLASS for each class, error. A file that cannot be read is a row with its error.

    **Examples**

    ```
    naturalize predict images --model runs/pbc11/models/plain -o predictions.csv
    naturalize predict a.jpg b.png -m MODEL
    ```
    """
    from naturalize.base.artifacts import write_bytes
    from naturalize.base.console import say, warn
    from naturalize.base.errors import ArtifactError, InputError
    from naturalize.models.files import find_images, predict_files, to_csv
    from naturalize.models.predictor import Predictor
    from naturalize.training.speed import keep_memory, wait_calmly

    keep_memory()
    wait_calmly()
    if out.is_dir():
        raise ArtifactError(f"{out}: is a folder; name a file, e.g. {out / 'predictions.csv'}")
    paths = find_images(images)
    predictor = Predictor.load(model, device=device)
    rows = list(predict_files(predictor, paths, batch=batch, what="predict"))
    write_bytes(out, to_csv(predictor.classes, rows).encode())
    bad = [row for row in rows if row.error]
    if len(bad) == len(rows):
        raise InputError(f"none of {len(rows)} files can be read; see the column error in {out}")
    if bad:
        warn(f"{len(bad)} of {len(rows)} files could not be read: {bad[0].path}: {bad[0].error}")
    say(f"predictions of {len(rows) - len(bad)} images: {out}")
