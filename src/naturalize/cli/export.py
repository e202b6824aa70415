"""``naturalize export``: a model's graph, with which it predicts fast and without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import ModelArgument, Overwrite


def export(
    model: ModelArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for a copy of the model with its graph.  [default: MODEL itself]",
            show_default=False,
        ),
    ] = None,
    elsewhere: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A model of the same classes that answers for images from other laboratories.",
            show_default=False,
        ),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store numbers as float16.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Give a model its graph: it then predicts about twice as fast, and without PyTorch.

    Writes network.onnx into the model folder. It holds operations only; the numbers stay in
    weights.safetensors beside it. predict then runs it with onnxruntime. Whether it answers as
    PyTorch does is tried on phantom images and on noise; if not, nothing is written.

    With --elsewhere, the model written has two networks: MODEL for images like those it was trained
    on, the other for images that predict standardises. The second is best trained with
    augment.microscopes.

    **Examples**

    ```
    naturalize export runs/pbc11/models/plain
    naturalize export runs/pbc11/models/plain -o plain-with-graph
    naturalize export models/home --elsewhere models/microscopes --half -o both
    ```
    """
    from naturalize.base.console import result
    from naturalize.models.export import export_model

    made = export_model(model, out, elsewhere=elsewhere, half=half)
    for graph in made.graphs:
        result(f"graph: {graph} ({graph.stat().st_size / 1000:,.0f} kB)")
    result(
        f"largest difference of a probability between onnxruntime and PyTorch, on {made.images} "
        f"images: {made.difference:.1e}"
    )
