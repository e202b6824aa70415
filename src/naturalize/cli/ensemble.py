"""``naturalize ensemble``: several models to one, whose probabilities are their mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import Columns, Device, Overwrite, Reader, Root, Scheme, columns_of

if TYPE_CHECKING:
    from naturalize.inputs.labelled import LabelledData


def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(help="Model folders, or names of shipped models.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the ensemble.", show_default=False)
    ],
    weights: Annotated[
        str | None,
        typer.Option(metavar="W,W,…", help="What each model counts.  [default: the same]"),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Find the weights on labelled images: a study folder (its validation images are "
            "taken), a catalog, or a tree of images.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The split, if DATA is a catalog.", show_default=False)
    ] = None,
    part: Annotated[str, typer.Option(help="Part of the split.")] = "val",
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    root: Root = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Make one model of several: the mean of their probabilities.

    The models may be of any architecture and input size; their classes must be the same. The result
    is one folder, which holds them all, and a model like any other for predict, evaluate and
    explain. With --fit, the weights are those that make the labels most probable.

    **Examples**

    ```
    naturalize ensemble models/plain models/composites -o both
    naturalize ensemble A B C --weights 0.5,0.3,0.2 -o three
    naturalize ensemble A B C --fit runs/pbc11 -o three
    naturalize ensemble A B --fit CATALOG --split SPLIT -o two
    ```
    """
    from naturalize.base.console import result
    from naturalize.base.errors import SettingsError
    from naturalize.models.ensemble import save_ensemble

    if weights is not None and fit is not None:
        raise SettingsError("--weights and --fit: choose one of them")
    if split is not None and fit is None:
        raise SettingsError("--split says what --fit is to use; give --fit CATALOG too")
    found: dict[str, Any] = {"weights": _numbers(weights)}
    if fit is not None:
        reading = {"scheme": scheme, "reader": reader, "columns": columns_of(columns)}
        data = _data(fit, split, part, root, reading)
        found = _fitted(models, data, part, device)
    save_ensemble(out, models, **found)
    result(f"ensemble of {len(models)} models: {out}")


def _numbers(text: str | None) -> list[float] | None:
    from naturalize.base.errors import SettingsError

    try:
        return None if text is None else [float(piece) for piece in text.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--weights {text}: expected numbers with commas between them, e.g. 0.6,0.4"
        ) from error


def _data(
    source: Path, split: Path | None, part: str, root: Path | None, reading: dict[str, Any]
) -> LabelledData:
    from naturalize.dataset.catalog import Catalog
    from naturalize.dataset.split import Split
    from naturalize.inputs.labelled import LabelledData, labelled_data, part_items

    if split is None:
        return labelled_data(source, part=part, root=root, **reading)
    catalog, chosen = Catalog.load(source, root=root), Split.load(split)
    inputs = {"catalog": catalog.fingerprint, "split": chosen.fingerprint}
    return LabelledData(catalog.root, part_items(catalog, chosen, part), inputs, catalog)


def _fitted(
    models: Sequence[str | Path], data: LabelledData, part: str, device: str
) -> dict[str, Any]:
    """Return weights, and what the model folder says of how they were found."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from naturalize.evaluation.averaging import fit_averaging

    found = fit_averaging(models, data.items, data.root, device=device)
    table = Table("model", "weight", "macro-F1", "accuracy", "loss", box=SIMPLE_HEAD)
    weights = [f"{weight:.3f}" for weight in found.weights]
    for name, weight, row in zip(
        [*map(str, models), "together"], [*weights, ""], [*found.each, found.mean], strict=True
    ):
        table.add_row(name, weight, *(f"{row[k]:.3f}" for k in ("macro_f1", "accuracy", "loss")))
    Console(highlight=False).print(table)
    return {
        "weights": found.weights.tolist(),
        "training": {
            "weights": "fitted",
            "part": part if "split" in data.inputs else None,
            "data": data.inputs,
        },
        "metrics": found.mean,
        "inputs": data.inputs,
    }
