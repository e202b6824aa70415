"""``naturalize realism``: whether composites can be distinguished from real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import Engine, Overwrite, Resamples, Root, Workers

if TYPE_CHECKING:
    from naturalize.cells.bank import CellBank
    from naturalize.compose.recipe.plan import Plan

_Plan = Annotated[
    Path | None,
    typer.Argument(
        help="A plan, a folder of composites with its plan, or a study folder.", show_default=False
    ),
]
_Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default=False)
]
_Bank = Annotated[
    Path | None,
    typer.Option(help="The plan's bank.  [default: the one beside it]", show_default=False),
]
_PerClass = Annotated[int, typer.Option(min=10, help="Composites, and real images, of each class.")]
_Classes = Annotated[
    list[str] | None,
    typer.Option(
        help="Classes to look at, e.g. BNE,SNE; can be given again.  [default: the plan's]"
    ),
]
_History = Annotated[
    str, typer.Option(help="lossless: as decoded and as painted; jpeg: both encoded once more.")
]
_Size = Annotated[
    int | None,
    typer.Option(
        min=64,
        help="Compare at this side, as a network would: real images shrunk, composites composed so "
        "small.  [default: as large as they are]",
        show_default=False,
    ),
]
_Probes = Annotated[str, typer.Option(help="Which of statistics, features and patches try.")]
_Baselines = Annotated[
    bool,
    typer.Option(
        "--baselines",
        help="Probe real against real, re-encoded real images, paper mode, hard paste and "
        "seamlessClone too; with --size, composites that are composed whole and shrunk.",
    ),
]
_Accepted = Annotated[
    bool,
    typer.Option("--accepted", help="Only real images whose own cell the bank accepts, not all."),
]
_Sheet = Annotated[
    bool, typer.Option("--sheet", help="Write 2 × 50 shuffled images for an observer instead.")
]
_Score = Annotated[
    tuple[Path, Path] | None,
    typer.Option(help="Score an observer's guesses: answers.csv guesses.csv.", show_default=False),
]


def realism(
    plan: _Plan = None,
    out: _Out = None,
    bank: _Bank = None,
    per_class: _PerClass = 50,
    classes: _Classes = None,
    history: _History = "lossless",
    size: _Size = None,
    probes: _Probes = "statistics,features,patches",
    baselines: _Baselines = False,
    accepted: _Accepted = False,
    sheet: _Sheet = False,
    score: _Score = None,
    root: Root = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    resamples: Resamples = 1000,
    seed: Annotated[int, typer.Option(help="Another seed, other images and folds.")] = 0,
    workers: Workers = None,
    engine: Engine = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Try to distinguish composites from real images of the same class.

    Classifiers are trained and tested on different parents. An AUC of 0.5 means that they cannot
    distinguish them, 1 that they are always right. Writes realism.json, scores.parquet, sheet.jpg
    (the composites that are detected most surely), distinguishing.svg (by what) and auc.svg.

    With --sheet a numbered sheet for an observer is written, the answers in a file of their own;
    --score says how often the observer was right.

    **Examples**

    ```
    naturalize realism runs/pbc11 -o realism
    naturalize realism plan --bank runs/pbc11/bank --baselines -o realism
    naturalize realism plan --probes statistics --per-class 30 --classes PMY -o quick
    naturalize realism plan --size 192 --baselines -o small
    naturalize realism plan --sheet -o sheet
    naturalize realism --score sheet/answers.csv sheet/guesses.csv
    ```
    """
    from naturalize.base.errors import SettingsError
    from naturalize.base.settings import validated
    from naturalize.base.text import names_of
    from naturalize.realism.settings import RealismSettings, baselines_of

    if score is not None:
        _print_score(*score)
        return
    if plan is None or out is None:
        raise SettingsError("realism: name a plan and, with -o, a folder to write; or use --score")
    if sheet and size is not None:
        raise SettingsError("--size: an observer looks at images as large as they are")
    asked = validated(
        RealismSettings,
        {
            "per_class": per_class,
            "history": history,
            "size": size,
            "probes": names_of(probes),
            "baselines": baselines_of(size) if baselines else [],
            "accepted": accepted,
            "folds": folds,
            "resamples": resamples,
            "seed": seed,
        },
        what="realism",
    )
    opened = _opened(plan, bank, root, out)
    labels = names_of(classes, list(opened[0].targets))
    run = {"backend": engine, "workers": workers}
    if sheet:
        _write_sheet(opened, out, {"classes": labels, "history": history, "seed": seed, **run})
    else:
        _probe(opened, out, {**asked.model_dump(), "classes": labels, **run})


def _opened(plan: Path, bank: Path | None, root: Path | None, out: Path) -> tuple[Plan, CellBank]:
    from naturalize.base.artifacts import check_place
    from naturalize.inputs.compose import open_plan

    check_place(out)
    return open_plan(plan, bank=bank, root=root)


def _print_score(answers: Path, guesses: Path) -> None:
    from naturalize.base.console import result
    from naturalize.realism.observers import score_guesses

    found = score_guesses(answers, guesses)
    result(
        f"{found.right} of {found.n} right: {found.accuracy:.2f} "
        f"(95 % interval {found.low:.2f} – {found.high:.2f}), {found.verdict}"
    )
    for name, (right, n) in (("real", found.real_right), ("composite", found.composite_right)):
        result(f"{name} images: {right} of {n} right")
    if found.skipped:
        result(f"without a guess: {found.skipped}")


def _write_sheet(opened: tuple[Plan, CellBank], out: Path, options: dict[str, Any]) -> None:
    from naturalize.base.console import result, say
    from naturalize.realism.observers import write_sheet

    write_sheet(*opened, out, **options)
    result(f"to look at: {out / 'sheet.jpg'}; to fill in: {out / 'guesses.csv'}")
    say(f"then: naturalize realism --score {out / 'answers.csv'} {out / 'guesses.csv'}")


def _probe(opened: tuple[Plan, CellBank], out: Path, options: dict[str, Any]) -> None:
    from naturalize.base.console import result
    from naturalize.base.process import ready_for_networks
    from naturalize.realism.report import lines
    from naturalize.realism.run import realism as run

    ready_for_networks()
    for line in lines(run(*opened, out, **options).report):
        result(line)
    result(f"to look at: {out / 'sheet.jpg'}, {out / 'auc.svg'}, {out / 'distinguishing.svg'}")
