"""``naturalize data``: getting public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Command

app = typer.Typer(help="Get public data sets.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Get public data sets."""


@app.command(cls=Command)
def fetch(
    name: Annotated[str, typer.Argument(help="Data set: pbc.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to.")],
) -> None:
    """Download, check and unpack a public data set; goes on where it stopped.

    pbc: 17,092 images of peripheral blood cells (Acevedo et al. 2020, CC BY 4.0), from Mendeley
    Data; about 0.3 GB.

    **Examples**

    ```
    naturalize data fetch pbc -o data
    naturalize catalog data/PBC_dataset_normal_DIB --scheme pbc11 -o runs/catalog
    ```
    """
    from naturalize.base.errors import unknown
    from naturalize.dataset.fetch import fetch_pbc

    if name != "pbc":
        raise unknown("data set", name, ["pbc"])
    typer.echo(fetch_pbc(out))
