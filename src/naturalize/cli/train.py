"""``naturalize train``: labelled images, or a catalog, a split and perhaps a plan, to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from naturalize.cli.options import Columns, Overwrite, Reader, Root, Scheme, columns_of

Folder = Optional[Path]  # noqa: UP045 - typer reads it
Number = Optional[int]  # noqa: UP045
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the model.", show_default=False)]
Source = Annotated[
    Folder,
    typer.Argument(help="Labelled images, a study folder, a catalog.", show_default=False),
]
Composites = Annotated[
    bool, typer.Option("--composites", help="Train on a study folder's plan too.")
]
Model = Annotated[
    str, typer.Option(help="A name of `naturalize models`, any timm name, or cbam:A+B.")
]
Weights = Annotated[str, typer.Option(help="auto, imagenet, download, none, a path, or pbc11.")]
Size = Annotated[Number, typer.Option(help="Side in pixels.  [default: the architecture's]")]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. lr=0.0005."),
]
Workers = Annotated[
    Number, typer.Option(min=0, help="Processes that load data.  [default: by device]")
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cpu:2 (two processes), cuda, cuda:0,1, cuda:all or mps.")
]


def train(
    out: Out,
    source: Source = None,
    catalog: Annotated[Folder, typer.Option(help="The catalog.")] = None,
    split: Annotated[Folder, typer.Option(help="The split.")] = None,
    plan: Annotated[Folder, typer.Option(help="Composites to train on too.")] = None,
    bank: Annotated[Folder, typer.Option(help="The cells they are made of.")] = None,
    root: Root = None,
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    composites: Composites = False,
    model: Model = "tf_efficientnet_lite0",
    weights: Weights = "auto",
    mode: Annotated[str, typer.Option(help="finetune, transfer or scratch.")] = "finetune",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 8,
    input_size: Size = None,
    settings: Set = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    protocol: Annotated[str, typer.Option(help="honest or paper.")] = "honest",
    workers: Workers = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train a network and write its model folder.

    Of labelled images (a folder for each class, a table, …), a catalog and a split are made first;
    they are kept in OUT-data. The weights with the best validation macro-F1 are
    kept. Killed and started again with the same options, it goes on after the last whole epoch and
    ends with the same weights. The documentation, "Train a network", lists all settings that --set
    takes.

    **Examples**

    ```
    naturalize train images -o model
    naturalize train runs/pbc11 --epochs 8 --input-size 192 -o model
    naturalize train --catalog C --split S --plan P --bank B -o model
    naturalize train runs/pbc11 --mode transfer --set lr=0.01 -o quick
    naturalize train runs/pbc11 --set head_epochs=1 --set layer_decay=0.8 --set patience=4 -o fine
    torchrun --nproc-per-node 4 -m naturalize train runs/pbc11 -o model
    ```
    """
    from naturalize.base.console import result
    from naturalize.base.errors import unknown
    from naturalize.training import fit
    from naturalize.training.settings import TrainSettings

    values = {"model": model, "weights": weights, "mode": mode, "epochs": epochs, "seed": seed}
    values |= {"input_size": input_size, "workers": workers, "device": device}
    values |= {"composites": composites or plan is not None}
    chosen = TrainSettings.parse(with_overrides(values, settings or []))
    if protocol not in ("honest", "paper"):
        raise unknown("protocol", protocol, ["honest", "paper"])
    fit.check(chosen)
    from naturalize.inputs.training import open_data

    places: dict[str, Any] = {"catalog": catalog, "split": split, "plan": plan, "bank": bank}
    places |= {"root": root, "masks": chosen.augment.masks, "composites": chosen.composites}
    reading: dict[str, Any] = {"scheme": scheme, "reader": reader, "columns": columns_of(columns)}
    data = open_data(source, **places, seed=seed, **reading)
    beside = out.with_name(f"{out.name}-data")
    data.keep(beside)
    made: dict[str, Any] = {
        "plan": data.plan,
        "bank": data.bank,
        "laboratory": data.laboratory,
        "inputs": data.inputs,
    }
    fit.train(chosen, data.catalog, data.split, out=out, protocol=protocol, **made)
    if os.environ.get("RANK", "0") != "0":  # torchrun started several: one of them speaks
        return
    result(f"model: {out}")
    if data.new:
        result(f"catalog and split: {beside}; now: naturalize evaluate {out} {beside} -o scores")


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return ``values`` with ``key=value`` or ``augment.key=value`` texts laid over them."""
    import yaml

    from naturalize.base.errors import SettingsError

    laid = dict(values)
    for text in overrides:
        key, sign, raw = text.partition("=")
        if not sign or not key:
            raise SettingsError(f"--set {text}: expected KEY=VALUE, e.g. lr=0.0005")
        try:
            value = yaml.safe_load(raw)
        except yaml.YAMLError as error:
            raise SettingsError(f"--set {text}: the value cannot be read") from error
        first, dot, rest = key.partition(".")
        if dot:
            inner = laid.get(first, {})
            laid[first] = {**(inner if isinstance(inner, dict) else {}), rest: value}
        else:
            laid[key] = value
    return laid
