"""``naturalize split``: divide a catalog into train, val and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite, fractions_of


def split(
    catalog: Annotated[Path, typer.Argument(help="Catalog folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the split to.")],
    fractions: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.7,0.1,0.2",
    seed: Annotated[int, typer.Option(help="Another seed, another division.")] = 0,
    conflicts: Annotated[
        str, typer.Option(help="One picture with two labels: refuse, or drop both.")
    ] = "refuse",
    use: Annotated[
        str,
        typer.Option(help="random, given (the parts that the source names), or auto."),
    ] = "auto",
    train_per_class: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most images of a class in train.  [default: all]", show_default=False
        ),
    ] = None,
    train_seed: Annotated[int, typer.Option(help="Draws which images of train stay.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Divide the images: classes in proportion, groups and duplicates whole, the same every time.

    **Examples**

    ```
    naturalize split runs/catalog -o runs/split
    naturalize split runs/catalog -o runs/split --fractions 0.8,0,0.2 --conflicts drop
    naturalize split runs/catalog -o runs/few --train-per-class 20
    ```
    """
    from naturalize.base.console import result
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split

    found = Split.build(
        Catalog.load(catalog),
        fractions=fractions_of(fractions),
        seed=seed,
        conflicts=conflicts,
        use=use,
        train_per_class=train_per_class,
        train_seed=train_seed,
    )
    found.save(out)
    for part, counts in found.counts().items():
        named = ", ".join(f"{label} {n:,}" for label, n in counts.items())
        result(f"{part} {sum(counts.values()):,}: {named}")
    if found.dropped:
        result(f"dropped {len(found.dropped)}, listed in {out / 'split.json'}")
    result(f"split {found.hash}: {out}")
