"""``naturalize export``: a model's graph, with which it predicts fast and without PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite


def export(
    model: Annotated[str, typer.Argument(help="A model folder, or pbc11.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Folder for a copy of the model with its graph.  [default: MODEL itself]",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Give a model its graph: it then predicts about twice as fast, and without PyTorch.

    Writes network.onnx into the model folder. It holds operations only; the numbers stay in
    weights.safetensors beside it. predict then runs it with onnxruntime. Whether it answers as
    PyTorch does is tried on phantom images and on noise; if not, nothing is written.

    **Examples**

    ```
    naturalize export runs/pbc11/models/plain
    naturalize export runs/pbc11/models/plain -o plain-with-graph
    ```
    """
    from naturalize.base.console import result
    from naturalize.models.export import export_model

    made = export_model(model, out)
    for graph in made.graphs:
        result(f"graph: {graph} ({graph.stat().st_size / 1000:,.0f} kB)")
    result(
        f"largest difference of a probability between onnxruntime and PyTorch, on {made.images} "
        f"images: {made.difference:.1e}"
    )
