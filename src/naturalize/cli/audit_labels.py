"""``naturalize audit-labels``: the labels that may be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import (
    Columns,
    Engine,
    Overwrite,
    Reader,
    Root,
    Scheme,
    Workers,
    columns_of,
)


def audit_labels(
    data: Annotated[
        Path,
        typer.Argument(help="Labelled images, a catalog or a study folder.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the audit.", show_default=False)
    ],
    encoder: Annotated[
        str, typer.Option(help="Whose features are compared: a timm name.")
    ] = "tf_efficientnet_lite0",
    weights: Annotated[
        str, typer.Option(help="The encoder's weights: imagenet, download or a path.")
    ] = "imagenet",
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    part: Annotated[str, typer.Option(help="Part of a split, or all.")] = "all",
    root: Root = None,
    number: Annotated[int, typer.Option("-n", min=1, help="Pictures on the sheet.")] = 60,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the parts.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or mps.")] = "cpu",
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """List the labels that may be wrong, the most doubtful first.

    A simple classifier on an encoder's features is asked about each image that it was not fitted
    on. Writes labels.csv (every image), labels.json (counts) and doubtful.jpg (a sheet of the most
    doubtful). It changes no label: look at the first tenth, and correct your own table.

    **Examples**

    ```
    naturalize audit-labels PBC --scheme pbc11 -o labels
    naturalize audit-labels runs/pbc11 --part train -o labels -n 120
    naturalize evaluate pbc11 PBC --scheme pbc11 --agreed labels/labels.csv -o eval/agreed
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import result, say
    from naturalize.base.process import ready_for_networks
    from naturalize.evaluation.labels import audit_labels as run
    from naturalize.inputs.labelled import labelled_data
    from naturalize.models.torch_predictor import TorchPredictor
    from naturalize.models.zoo import build

    ready_for_networks()
    check_place(out)
    found = labelled_data(
        data, scheme=scheme, reader=reader, columns=columns_of(columns), part=part, root=root,
        backend=engine, workers=workers,
    )  # fmt: skip
    if n := found.left_out.get("n_copies"):
        say(f"{n} file(s) show a picture that another one of the class shows; it is checked once")
    if dropped := found.left_out.get("dropped_labels"):
        named = ", ".join(f"{label} ({n})" for label, n in dropped.items())
        say(f"left out, as the scheme has no such classes: {named}")
    network = build(encoder, 2, weights=weights)  # its classifier is not used
    audited = run(
        TorchPredictor(network.module, network.config, device=device),
        found.items,
        found.root,
        out,
        labels=found.labels,
        folds=folds,
        shown=number,
        seed=seed,
        inputs=found.inputs,
    )
    result(f"{audited['n']:,} labels, {audited['n_doubtful']:,} contradicted by like images")
    for pair in audited["confused"][:8]:
        result(f"  {pair['n']:4,}  {pair['label']}, likelier {pair['likelier']}")
    say(f"{audited['method']}; the classifier agrees with {audited['accuracy']:.3f} of the labels")
    result(f"label audit: {out}")
