"""``naturalize catalog``: read images, audit them, write the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Columns, Engine, Overwrite, Reader, Scheme, Workers, columns_of


def catalog(
    root: Annotated[
        Path, typer.Argument(help="Folder of images, CSV table or MedMNIST .npz file.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write the catalog to.")],
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")
    ] = False,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """List and measure images, and audit them: duplicates, conflicts, bad files, confounders.

    **Examples**

    ```
    naturalize catalog PBC_dataset_normal_DIB --scheme pbc11 -o runs/catalog
    naturalize catalog cells.csv -o runs/catalog
    naturalize catalog cells.csv --column path=file --column label=diagnosis -o runs/catalog
    naturalize catalog slides --reader 'patient/*/class' -o runs/catalog
    naturalize catalog bloodmnist.npz --scheme pbc8 -o runs/catalog
    ```
    """
    from naturalize.base.console import result
    from naturalize.dataset.audit import audit, write_audit
    from naturalize.dataset.catalog import Catalog

    found = Catalog.build(
        root,
        scheme=scheme,
        reader=reader,
        columns=columns_of(columns),
        strict=strict,
        backend=engine,
        workers=workers,
    )
    audited = audit(found)
    found.save(out, also=lambda folder: write_audit(found, audited, folder))
    counts = ", ".join(f"{label} {n:,}" for label, n in audited["counts"].items())
    result(
        f"{audited['n_images']:,} images, {audited['n_usable']:,} usable, "
        f"{len(audited['unreadable'])} unreadable, {len(audited['skipped'])} skipped, "
        f"{sum(audited['dropped'].values())} dropped"
    )
    result(f"classes: {counts}")
    for finding in audited["findings"]:
        result(f"  {'!' if finding['level'] == 'alert' else '·'} {finding['text']}")
    result(f"catalog and audit: {out}")
