"""``naturalize phantom``: procedural smear images with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Engine, Overwrite, Workers


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    per_class: Annotated[
        list[str] | None,
        typer.Option(
            "--per-class",
            help="Images of every class, or NAME=N,… for single classes.  [default: 24]",
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="Width x height in pixels.")] = "360x363",
    seed: Annotated[int, typer.Option(help="Names the data set.")] = 0,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Draw blood smears of 11 classes with true masks, boxes and labels.

    For demos and tests: it looks like the PBC data set and says nothing about blood. OUT gets
    `images/` (one folder a kind of cell, file names as in PBC), `truth/` and `sheet.jpg`.

    **Examples**

    ```
    naturalize phantom --per-class 24 -o phantom
    naturalize phantom --per-class BNE=5,SNE=60 -o two-classes
    naturalize phantom --per-class 30,BNE=5 --seed 7 -o imbalanced
    naturalize phantom --per-class 100 --size 180x181 --workers 2 -o small
    ```
    """
    from naturalize.base.console import result
    from naturalize.dataset.phantom import write_phantom
    from naturalize.dataset.phantom.write import parse_counts, parse_size

    counts = parse_counts(",".join(per_class or ["24"]))
    write_phantom(
        out,
        per_class=counts,
        seed=seed,
        size=parse_size(size),
        backend=engine,
        workers=workers,
    )
    result(f"{sum(counts.values()):,} images of {len(counts)} classes: {out / 'images'}")
    result(f"picture: {out / 'sheet.jpg'}")
