"""``naturalize labs``: one model over the labelled images of several laboratories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.evaluate import with_interval
from naturalize.cli.options import (
    Columns,
    Device,
    Engine,
    ModelOption,
    OnlyMapped,
    Overwrite,
    Part,
    Reader,
    Resamples,
    Scheme,
    Seed,
    Standardise,
    Workers,
    columns_of,
)

if TYPE_CHECKING:
    from rich.table import Table

#: Scores of the printed table: what `labs.json` calls them, and the heading.
_SHOWN = {
    "balanced_accuracy": "bal.\nacc.",
    "macro_f1": "macro\nF1",
    "ece": "ECE",
    "sure_wrong": "sure\nwrong",
    "aurc": "AURC",
}

Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDER…", help="Labelled images, one source a laboratory.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)]
ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="[LABORATORY:]CLASS=A+B,…",
        help="Which of the model's classes make up one of the images', in all laboratories or in "
        "one. Usual names (neutrophil, NEU, Lymphocytes, …) are known. Can be given again.",
    ),
]
Encoder = Annotated[
    list[str] | None,
    typer.Option(help="A timm network to stand beside the model; can be given again."),
]
ProbeKind = Annotated[
    str, typer.Option("--probe", help="What stands on its features: linear or knn.")
]
Train = Annotated[
    Path | None,
    typer.Option(
        help="Labelled training images, a catalog or a study, to fit that on.", show_default=False
    ),
]
Weights = Annotated[
    str, typer.Option(help="The encoders' weights: imagenet, download, none or a path.")
]
PerClass = Annotated[int, typer.Option(min=1, help="Training images a class for that, at most.")]
KeepExposed = Annotated[
    bool,
    typer.Option(
        "--keep-exposed", help="Score images of the model's training, and duplicates, too."
    ),
]
Mixes = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        metavar="NAME:CLASS=SHARE,…",
        help="One more class mix to give the scores for; can be given again.",
    ),
]


def labs(
    folders: Folders,
    out: Out,
    model: ModelOption = "pbc11",
    merge: ClassMap = None,
    only_mapped: OnlyMapped = False,
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    part: Part = "test",
    standardise: Standardise = "auto",
    encoder: Encoder = None,
    probe: ProbeKind = "linear",
    train: Train = None,
    weights: Weights = "imagenet",
    per_class: PerClass = 500,
    keep_exposed: KeepExposed = False,
    mix: Mixes = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    device: Device = "cpu",
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Score a model on several laboratories' images, and under several mixes of classes.

    Each FOLDER is a laboratory: class folders, or whatever else `evaluate` reads. Its images are
    standardised as `predict` does. Images that the model was trained on, duplicates, and pictures
    with two classes are left out and counted. Writes labs.json, labs.csv, all answers, and
    pictures; prints a table. A killed run goes on where it stopped.

    **Examples**

    ```
    naturalize labs bccd segd krd -o labs
    naturalize labs ours theirs --map "theirs:Polymorph=BNE+SNE" -o labs
    naturalize labs bccd krd --encoder resnet50 --train PBC --weights download -o labs
    naturalize labs bccd krd --mix "viral:lymphocyte=0.7,neutrophil=0.3" -o labs
    naturalize report labs
    ```
    """
    from rich.console import Console

    from naturalize.base.artifacts import check_place
    from naturalize.base.console import remark, result
    from naturalize.base.process import ready_for_networks
    from naturalize.inputs.labs import labs as run

    ready_for_networks()
    check_place(out)
    reading: dict[str, Any] = {"scheme": scheme, "reader": reader, "part": part}
    reading |= {"columns": columns_of(columns), "backend": engine, "workers": workers}
    found = run(
        folders,
        out,
        model,
        maps=merge,
        only_mapped=only_mapped,
        encoders=encoder or (),
        probe=probe,
        train=train,
        weights=weights,
        a_class=per_class,
        standardise=standardise,
        keep_exposed=keep_exposed,
        mixes=mix or (),
        resamples=resamples,
        seed=seed,
        device=device,
        **reading,
    )
    for table in tables(found):
        Console(highlight=False).print(table)
    for line in remarks(found):
        remark(line)
    result(f"laboratories: {out}")


def tables(found: dict[str, Any]) -> list[Table]:
    """Return the tables of ``labs.json``, two a model: by laboratory, and by mix of classes."""
    return [make(model, its) for make in (_by_laboratory, _by_mix)
            for model, its in found["models"].items()]  # fmt: skip


def _table(title: str, *headings: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(*headings, box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in table.columns[1:]:
        # a narrow terminal breaks no number
        column.justify, column.min_width = "right", 9 if column.header == "95 %" else 5
    return table


def _by_laboratory(model: str, its: dict[str, Any]) -> Table:
    first, *others = _SHOWN.values()
    table = _table(model, "laboratory", "n", first, "95 %", *others)
    for name, entry in its["laboratories"].items():
        table.add_row(name, f"{entry['n']:,}", *_cells(entry["mixes"]["as found"]["scores"]))
    over = its["overall"]["as found"]
    table.add_row("mean", f"{its['n']:,}", *_cells(over["mean"]))
    low, *worst = [f"{over['worst'][key]['value']:.3f}" for key in _SHOWN]
    table.add_row("worst", "", low, "", *worst)
    return table


def _by_mix(model: str, its: dict[str, Any]) -> Table:
    title = f"{model}, mean of laboratories"
    table = _table(title, "mix of classes", "accuracy", "95 %", "macro\nF1", "ECE", "worst")
    for mix, each in its["overall"].items():
        rest = [f"{each['mean'][key]['value']:.3f}" for key in ("macro_f1", "ece")]
        last = each["worst"]["accuracy"]
        named = f"{last['value']:.3f} {last['laboratory']}"
        table.add_row(mix, *with_interval(each["mean"]["accuracy"]), *rest, named)
    return table


def _cells(scores: dict[str, Any]) -> list[str]:
    first, *others = _SHOWN
    return [*with_interval(scores[first]), *(f"{scores[key]['value']:.3f}" for key in others)]


def remarks(found: dict[str, Any]) -> list[str]:
    """Return the lines that say how the scores in ``labs.json`` are to be read."""
    lines = [f"{found['interval_method']}; {found['convention']}"]
    for name, lab in found["laboratories"].items():
        said = [f"{n:,} {reason}" for reason, n in lab["left_out"].items()]
        if said:
            lines.append(f"{name}: left out of {lab['n_images']:,} images: {', '.join(said)}")
        scored = [f"{n:,} {why}" for why, n in lab["exposed"].items() if n]
        if scored and found["keep_exposed"]:
            lines.append(f"{name}: scored all the same (--keep-exposed): {', '.join(scored)}")
        if lab["absent"]:
            absent = ", ".join(lab["absent"])
            lines.append(f"{name}: has no {absent}; its scores are over the classes it has")
        if lab["n"] < 2 * len(lab["classes"]):
            lines.append(f"{name}: {lab['n']} image(s) are too few for scores to mean anything")
    first = next(iter(found["models"].values()))
    same: dict[str, list[str]] = {}
    for name, entry in first["laboratories"].items():
        of = (entry["map"] or {}).get("classes", {})
        sums = ", ".join(f"{label} = {' + '.join(parts)}" for label, parts in of.items())
        same.setdefault(sums, []).append(name)
        lines.append(
            f"{name}: {entry['n_wrong']:,} wrong, {entry['n_sure_wrong']:,} surer than 0.9; "
            f"{entry['n_unsure']:,} flagged unsure, {entry['n_no_cell']:,} without a cell"
        )
    mapped = "cannot be answered" if found["only_mapped"] else "are wrong where they are answered"
    lines += [f"{', '.join(names)}: {sums}" for sums, names in same.items()]
    return [*lines, f"the model's other classes {mapped}"]
