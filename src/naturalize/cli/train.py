"""``naturalize train``: catalog, split and perhaps a plan to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from naturalize.cli.options import Columns, Overwrite, Reader, columns_of


def train(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the model.", show_default=False)
    ],
    source: Annotated[
        Path | None,
        typer.Argument(help="A study folder, a catalog, or labelled images.", show_default=False),
    ] = None,
    catalog: Annotated[Path | None, typer.Option(help="The catalog.", show_default=False)] = None,
    split: Annotated[Path | None, typer.Option(help="The split.", show_default=False)] = None,
    plan: Annotated[
        Path | None, typer.Option(help="Composites to train on too.", show_default=False)
    ] = None,
    bank: Annotated[
        Path | None, typer.Option(help="The cells they are made of.", show_default=False)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the images are now.", show_default=False)
    ] = None,
    scheme: Annotated[str, typer.Option(help="Classes: pbc11, pbc8 or folders.")] = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    composites: Annotated[
        bool, typer.Option("--composites", help="Train on a study folder's plan too.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="A name of `naturalize models`, any timm name, or cbam:A+B.")
    ] = "tf_efficientnet_lite0",
    weights: Annotated[
        str, typer.Option(help="auto, imagenet, download, none, or a path.")
    ] = "auto",
    mode: Annotated[str, typer.Option(help="finetune, transfer or scratch.")] = "finetune",
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 8,
    input_size: Annotated[
        int | None, typer.Option(help="Side in pixels.  [default: the architecture's]")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. lr=0.0005."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    protocol: Annotated[str, typer.Option(help="honest or paper.")] = "honest",
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that load data.  [default: by device]")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cpu:2 (two processes), cuda, cuda:0,1, cuda:all or mps.")
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Train a network and write its model folder.

    The weights with the best validation macro-F1 are kept. Killed and started again with the same
    options, it goes on after the last whole epoch and ends with the same weights. All settings that
    --set takes are told in the documentation, "Train a network".

    Of labelled images, a catalog and a split are made and kept in OUT-data.

    **Examples**

    ```
    naturalize train images -o model
    naturalize train runs/pbc11 --epochs 8 --input-size 192 -o model
    naturalize train --catalog C --split S --plan P --bank B -o model
    naturalize train runs/pbc11 --mode transfer --set lr=0.01 -o quick
    naturalize train runs/pbc11 --set head_epochs=1 --set layer_decay=0.8 --set patience=4 -o fine
    naturalize train runs/pbc11 --model custom_cnn --set loss=focal --set augment.rotate=0 -o m
    ```
    """
    from naturalize.base.console import result
    from naturalize.base.errors import SettingsError
    from naturalize.inputs.training import open_data
    from naturalize.training.fit import train as run
    from naturalize.training.settings import TrainSettings

    values: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "mode": mode,
        "epochs": epochs,
        "input_size": input_size,
        "composites": composites or plan is not None,
        "seed": seed,
        "workers": workers,
        "device": device,
    }
    chosen = TrainSettings.parse(with_overrides(values, settings or []))
    if protocol not in ("honest", "paper"):
        raise SettingsError(f"protocol: expected honest or paper, got {protocol!r}")
    data = open_data(
        source,
        catalog=catalog,
        split=split,
        plan=plan,
        bank=bank,
        root=root,
        composites=chosen.composites,
        masks=chosen.augment.alone > 0,
        seed=seed,
        scheme=scheme,
        reader=reader,
        columns=columns_of(columns),
    )
    beside = out.with_name(f"{out.name}-data")
    data.keep(beside)
    run(
        chosen,
        data.catalog,
        data.split,
        plan=data.plan,
        bank=data.bank,
        out=out,
        protocol=protocol,
        inputs=data.inputs,
    )
    result(f"model: {out}")
    if data.new:
        result(
            f"catalog and split: {beside}; then: naturalize evaluate {out} {beside} -o evaluation"
        )


def with_overrides(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Return ``values`` with ``key=value`` or ``augment.key=value`` texts laid over them."""
    import yaml

    from naturalize.base.errors import SettingsError

    found = dict(values)
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
            inner = found.get(first, {})
            found[first] = {**(inner if isinstance(inner, dict) else {}), rest: value}
        else:
            found[key] = value
    return found
