"""``naturalize evaluate``: a model and labelled images to scores with intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import (
    ClassMap,
    Columns,
    Engine,
    ModelArgument,
    OnlyMapped,
    Overwrite,
    Part,
    ProfileFile,
    Reader,
    Resamples,
    Root,
    Scheme,
    Seed,
    Standardise,
    Workers,
    columns_of,
)

if TYPE_CHECKING:
    from rich.table import Table


Data = Annotated[
    Path,
    typer.Argument(help="Labelled images, a catalog or a study folder.", show_default=False),
]
Folder = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the evaluation.", show_default=False)
]
DropUnknown = Annotated[
    bool, typer.Option("--drop-unknown", help="Leave out classes the model does not know.")
]
LeaveOutTraining = Annotated[
    bool,
    typer.Option("--leave-out-training", help="Leave out images the model was trained on."),
]
Shortcuts = Annotated[
    bool,
    typer.Option("--shortcuts", help="Also score it on images whose cells are painted over."),
]
DoubtFolder = Annotated[
    Path | None,
    typer.Option(
        "--doubt",
        metavar="FOLDER",
        help="Write a copy of the model there that says when it is in doubt, fitted on these "
        "images.",
        show_default=False,
    ),
]
Robustness = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Score N images a class under what microscopes do, too: 50 predictions an image.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at an image that cannot be read.")]
Agreed = Annotated[
    Path | None,
    typer.Option(
        metavar="TABLE",
        help="Labels that another source confirms (columns image and agreed): those images are "
        "scored by themselves too.",
        show_default=False,
    ),
]


def evaluate(
    model: ModelArgument,
    data: Data,
    out: Folder,
    scheme: Scheme = "folders",
    reader: Reader = "auto",
    columns: Columns = None,
    part: Part = "test",
    root: Root = None,
    merge: ClassMap = None,
    only_mapped: OnlyMapped = False,
    drop_unknown: DropUnknown = False,
    standardise: Standardise = "auto",
    profile: ProfileFile = None,
    leave_out_training: LeaveOutTraining = False,
    robustness: Robustness = 0,
    strict: Strict = False,
    shortcuts: Shortcuts = False,
    doubt: DoubtFolder = None,
    agreed: Agreed = None,
    resamples: Resamples = 2000,
    seed: Seed = 0,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Score a model on labelled images, with intervals.

    Writes predictions.parquet (one row an image, all probabilities), metrics.json and three
    pictures; prints the scores. Of a study folder the held-out part is used. A killed run goes on
    where it stopped. Images of fewer or broader classes than the model's are scored over their
    own: --map sums the probabilities.

    **Examples**

    ```
    naturalize evaluate runs/pbc11/models/plain runs/pbc11 -o eval/plain
    naturalize evaluate MODEL runs/pbc11 --part val -o eval/val --doubt MODEL-in-doubt
    naturalize evaluate MODEL images --scheme pbc11 -o eval/other-lab
    naturalize evaluate MODEL runs/pbc11 -o eval/shortcuts --shortcuts
    naturalize evaluate MODEL images --scheme pbc11 --drop-unknown -o eval/known
    naturalize evaluate MODEL images --scheme pbc11 --robustness 20 -o eval/robust
    naturalize evaluate MODEL images --agreed second-reader.csv -o eval/two-readers
    naturalize evaluate pbc11 crops --map Neutrophil=BNE+SNE,Monocyte=MO -o eval/crops
    ```
    """
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import result
    from naturalize.base.process import ready_for_networks
    from naturalize.evaluation.agreement import read_agreed
    from naturalize.evaluation.merge import Merge
    from naturalize.inputs.labelled import evaluate_on

    ready_for_networks()
    confirmations = read_agreed(agreed) if agreed else None
    check_place(out)
    if doubt is not None:
        check_place(doubt)
    reading: dict[str, Any] = {"scheme": scheme, "reader": reader, "columns": columns_of(columns)}
    reading |= {"part": part, "root": root, "backend": engine, "workers": workers}
    evaluate_on(
        data,
        model,
        out,
        merge=Merge.parse(merge, only=only_mapped),
        standardise=standardise,
        profile=profile,
        reading=reading,
        unknown_labels="drop" if drop_unknown else "refuse",
        agreed=confirmations,
        resamples=resamples,
        seed=seed,
        leave_out_training=leave_out_training,
        robustness=robustness,
        strict=strict,
        doubt=doubt,
        shortcuts=shortcuts,
    )
    _print(out)
    if doubt is not None:
        result(f"model with sets and a limit of what it has seen: {doubt}")


def _print(out: Path) -> None:
    """Print the scores to standard output, and how they are to be read."""
    from rich.console import Console

    from naturalize.base import console
    from naturalize.evaluation.evaluate import read_metrics
    from naturalize.evaluation.robustness import read_robustness

    result = read_metrics(out)
    for table in score_tables(result):
        Console(highlight=False).print(table)
    tested = read_robustness(out)
    if tested:
        Console(highlight=False).print(robustness_table(tested))
    for line in [*remarks(result), *(robustness_remarks(tested) if tested else ())]:
        console.say(line)
    console.result(f"evaluation: {out}")


def remarks(result: dict[str, Any]) -> list[str]:
    """Return the lines that say how the scores in ``metrics.json`` are to be read."""
    lines = [f"{result['interval_method']}; {result['convention']}"]
    if merged := result["merged"]:
        sums = ", ".join(f"{name} = {' + '.join(of)}" for name, of in merged["classes"].items())
        others = "left out" if merged["only"] else "kept: an answer that names one is wrong"
        lines.append(f"classes: {sums}; the model's others are {others}")
    if result["n"] < 2 * sum(row["support"] > 0 for row in result["per_class"].values()):
        lines.append(f"{result['n']:,} image(s) are too few for scores to mean anything")
    answered = zip(result["labels"], zip(*result["confusion"], strict=True), strict=True)
    never = [label for label, n in answered if not any(n) and result["per_class"][label]["support"]]
    if never:
        lines.append(f"never answered: {', '.join(never)}; precision and F1 count as 0 there")
    elsewhere = sum(
        n
        for row in result["confusion"]
        for n, label in zip(row, result["labels"], strict=True)
        if label in result["absent"]
    ) - result.get("n_no_cell", 0)
    if (hidden := result.get("shortcuts")) and hidden["n"]:
        each = [
            f"{what} alone {found['balanced_accuracy']:.3f} ({{:.3f}} – {{:.3f}})".format(
                *found["interval"]
            )
            for what in ("context", "background")
            for found in [hidden[what]]
        ]
        lines.append(
            f"balanced accuracy on {hidden['n']:,} images without their cell: {', '.join(each)}; "
            f"chance is {hidden['chance']:.3f}"
        )
    if sets := result.get("sets"):
        low, high = sets["interval"]
        lines.append(
            f"sets of classes: {sets['coverage']:.3f} hold the true class ({low:.3f} – {high:.3f}, "
            f"exact binomial; {sets['share']:g} promised, class by class), {sets['single']:.1%} "
            "have one class"
        )
    if elsewhere:
        share = f"{elsewhere:,} of {result['n']:,} images"
        lines.append(f"{share} were taken for a class that is not in the data")
    if agreed := result.get("agreed"):
        sure = [f"{name.replace('_', ' ')} {agreed[name]:.3f} ({low:.3f} – {high:.3f})"
                for name, (low, high) in agreed["intervals"].items()
                if name in ("macro_f1", "accuracy")]  # fmt: skip
        share = f"{agreed['n']:,} of {result['n']:,} images"
        lines.append(f"where another source confirms the label, {share}: {', '.join(sure)}")
    return lines


def score_tables(result: dict) -> list[Table]:
    """Return the tables of scores, whole and by class, for the content of ``metrics.json``."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    whole = Table("score", "value", "95 % interval", box=SIMPLE_HEAD)
    for name, (low, high) in result["intervals"].items():
        whole.add_row(name.replace("_", " "), f"{result[name]:.3f}", f"{low:.3f} – {high:.3f}")
    low, high = result["accuracy_wilson"]
    whole.add_row("accuracy (Wilson)", f"{result['accuracy']:.3f}", f"{low:.3f} – {high:.3f}")
    found = result["calibration"]
    whole.add_row("calibration error", f"{found['ece']:.3f}", "")
    whole.add_row("calibration error, debiased", f"{found['ece_debiased']:.3f}", "")
    whole.add_row("Brier score", f"{result['brier']['score']:.3f}", "")
    whole.add_row("area under risk–coverage", f"{result['risk_coverage']['aurc']:.4f}", "")
    classes = Table(
        "class", "images", "precision", "recall", "F1", "95 % interval", box=SIMPLE_HEAD
    )
    for column in classes.columns[1:]:
        column.justify = "right"
    rows = result["per_class"]
    if result.get("merged"):  # what is left of the model's own classes is no class of the images
        rows = {label: row for label, row in rows.items() if row["support"]}
    for label, row in rows.items():
        sure = result["per_class_intervals"].get(label)
        numbers = [f"{row[key]:.3f}" if sure else "–" for key in ("precision", "recall", "f1")]
        limits = "{:.3f} – {:.3f}".format(*sure["f1"]) if sure else "not in the data"
        classes.add_row(label, f"{row['support']:,}", *numbers, limits)
    return [whole, classes]


def robustness_table(tested: dict[str, Any]) -> Table:
    """Return the table of macro-F1 under each corruption and strength, for `robustness.json`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    strengths = [
        str(one["strength"]) for one in next(iter(tested["corruptions"].values()))["strengths"]
    ]
    table = Table("macro-F1", *strengths, "mean", "95 %", box=SIMPLE_HEAD)
    rows = {name: (one["strengths"], one["mean"]) for name, one in tested["corruptions"].items()}
    for name, (each, mean) in rows.items():
        numbers = [f"{one['macro_f1']['value']:.2f}" for one in each]
        table.add_row(name, *numbers, *with_interval(mean["macro_f1"]))
    blank = [""] * len(strengths)
    table.add_row("all", *blank, *with_interval(tested["mean_corruption_score"]["macro_f1"]))
    table.add_row("as they are", *blank, *with_interval(tested["clean"]["macro_f1"]))
    for column in table.columns[1:]:
        column.justify, column.min_width = "right", 9 if column.header == "95 %" else 4
    return table


def with_interval(score: dict[str, Any]) -> tuple[str, str]:
    """Return a score's value and interval as text for two columns."""
    low, high = score["interval"]
    return f"{score['value']:.3f}", f"{low:.2f}–{high:.2f}"


def robustness_remarks(tested: dict[str, Any]) -> list[str]:
    """Return the lines that say what the mean corruption score is of."""
    mean = tested["mean_corruption_score"]
    kept, (low, high) = (
        tested["relative_robustness"]["macro_f1"][k] for k in ("value", "interval")
    )
    return [
        f"corruptions: {tested['n']:,} images, up to {tested['per_class']} a class, drawn by seed "
        f"{tested['seed']}; {tested['interval_method']}",
        f"mean corruption score: macro-F1 {mean['macro_f1']['value']:.3f}, balanced accuracy "
        f"{mean['balanced_accuracy']['value']:.3f}, calibration error {mean['ece']['value']:.3f}; "
        f"relative robustness {kept:.3f} ({low:.3f} – {high:.3f})",
    ]
