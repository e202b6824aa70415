"""``naturalize evaluate``: a model and labelled images to scores with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def evaluate(
    model: Annotated[Path, typer.Argument(help="A model folder.", show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(help="Labelled images, a catalog or a study folder.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the evaluation.", show_default=False)
    ],
    scheme: Annotated[str, typer.Option(help="Classes: pbc11, pbc8 or folders.")] = "folders",
    part: Annotated[str, typer.Option(help="Part of a study's split.")] = "test",
    root: Annotated[
        Path | None, typer.Option(help="Where a catalog's images are now.", show_default=False)
    ] = None,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out classes the model does not know.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an image that cannot be read.")
    ] = False,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes to read a tree with.  [default: all]")
    ] = None,
    engine: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
) -> None:
    """Score a model on labelled images, with intervals.

    Writes predictions.parquet (one row an image, all probabilities), metrics.json and three
    pictures; prints the scores. Of a study folder the held-out part is used. A killed run goes on
    where it stopped.

    **Examples**

    ```
    naturalize evaluate runs/pbc11/models/plain runs/pbc11 -o eval/plain
    naturalize evaluate MODEL images --scheme pbc11 -o eval/other-lab
    naturalize evaluate MODEL bccd_crops --drop-unknown -o eval/bccd
    ```
    """
    from rich.console import Console

    from naturalize.base.artifacts import read_manifest
    from naturalize.base.console import say
    from naturalize.evaluation.data import labelled_data
    from naturalize.evaluation.evaluate import evaluate as run
    from naturalize.evaluation.evaluate import read_metrics
    from naturalize.models.folder import describe
    from naturalize.models.predictor import Predictor

    predictor = Predictor.load(model)
    found = labelled_data(
        data, scheme=scheme, part=part, root=root, backend=engine, workers=workers
    )
    run(
        predictor,
        found.items,
        found.root,
        out,
        protocol=describe(model)["protocol"],
        unknown_labels="drop" if drop_unknown else "refuse",
        strict=strict,
        resamples=resamples,
        seed=seed,
        inputs={"model": read_manifest(model).fingerprint, **found.inputs},
    )
    result = read_metrics(out)
    for table in score_tables(result):
        Console(highlight=False).print(table)
    say(f"{result['interval_method']}; {result['convention']}")
    say(f"evaluation: {out}")


def score_tables(result: dict) -> list[Table]:
    """Return the tables of scores, whole and by class, for the content of ``metrics.json``."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    whole = Table("score", "value", "95 % interval", box=SIMPLE_HEAD)
    for name, (low, high) in result["intervals"].items():
        whole.add_row(name.replace("_", " "), f"{result[name]:.3f}", f"{low:.3f} – {high:.3f}")
    low, high = result["accuracy_wilson"]
    whole.add_row("accuracy (Wilson)", f"{result['accuracy']:.3f}", f"{low:.3f} – {high:.3f}")
    whole.add_row("calibration error", f"{result['calibration']['ece']:.3f}", "")
    classes = Table(
        "class", "images", "precision", "recall", "F1", "95 % interval", box=SIMPLE_HEAD
    )
    for column in classes.columns[1:]:
        column.justify = "right"
    for label, row in result["per_class"].items():
        sure = result["per_class_intervals"].get(label)
        numbers = [f"{row[key]:.3f}" if sure else "–" for key in ("precision", "recall", "f1")]
        limits = "{:.3f} – {:.3f}".format(*sure["f1"]) if sure else "not in the data"
        classes.add_row(label, f"{row['support']:,}", *numbers, limits)
    return [whole, classes]
