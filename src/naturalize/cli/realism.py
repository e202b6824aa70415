"""``naturalize realism``: whether composites can be told from real images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from naturalize.cli.options import Overwrite

if TYPE_CHECKING:
    from rich.table import Table


def realism(
    plan: Annotated[
        Path | None,
        typer.Argument(
            help="A plan, a folder of composites with its plan, or a study folder.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default=False)
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(help="The plan's bank.  [default: the one beside it]", show_default=False),
    ] = None,
    per_class: Annotated[
        int, typer.Option(min=1, help="Composites, and real images, of each class.")
    ] = 50,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            help="Classes to look at, e.g. BNE,SNE; can be given again.  [default: the plan's]"
        ),
    ] = None,
    history: Annotated[
        str,
        typer.Option(help="lossless: as decoded and as painted; jpeg: both encoded once more."),
    ] = "lossless",
    size: Annotated[
        int | None,
        typer.Option(
            min=64,
            help="Compare at this side, as a network would: real images shrunk, composites "
            "composed so small.  [default: as large as they are]",
            show_default=False,
        ),
    ] = None,
    probes: Annotated[
        str, typer.Option(help="Which of statistics, features and patches try.")
    ] = "statistics,features,patches",
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Probe real against real, re-encoded real images, paper mode, hard paste and "
            "seamlessClone too; with --size, composites that are composed whole and shrunk.",
        ),
    ] = False,
    accepted: Annotated[
        bool,
        typer.Option(
            "--accepted", help="Only real images whose own cell the bank accepts, not all."
        ),
    ] = False,
    sheet: Annotated[
        bool,
        typer.Option("--sheet", help="Write 2 × 50 shuffled images for a person instead."),
    ] = False,
    score: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Score a person's guesses: answers.csv guesses.csv.", show_default=False),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the images are now.", show_default=False)
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds of the cross-validation.")] = 5,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Another seed, other images and folds.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers to use.  [default: all processors]")
    ] = None,
    engine: Annotated[str, typer.Option(help="serial, processes or ray.")] = "processes",
    overwrite: Overwrite = False,
) -> None:
    """Try to tell composites from real images of the same class.

    Classifiers are trained and tested on different parents. An AUC of 0.5 means that they are
    blind, 1 that they are always right. Writes realism.json, scores.parquet, sheet.jpg (the
    composites that give themselves away), telling.svg (by what) and auc.svg.

    With --sheet a numbered sheet for a person is written, the answers in a file of their own;
    --score says how often that person was right.

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
    from naturalize.base.text import names_of

    if score is not None:
        _tell_score(*score)
        return
    if plan is None or out is None:
        raise SettingsError("realism: name a plan and, with -o, a folder to write; or use --score")
    options = {
        "classes": classes,
        "history": history,
        "seed": seed,
        "backend": engine,
        "workers": workers,
    }
    if sheet:
        if size is not None:
            raise SettingsError("--size: a person looks at images as large as they are")
        _write_sheet(plan, bank, root, out, options)
        return
    more = {
        "per_class": per_class,
        "size": size,
        "probes": names_of(probes),
        "accepted": accepted,
        "folds": folds,
        "resamples": resamples,
    }
    _probe(plan, bank, root, out, baselines, {**options, **more})


def _tell_score(answers: Path, guesses: Path) -> None:
    from naturalize.base.console import say
    from naturalize.realism.observers import score_guesses

    found = score_guesses(answers, guesses)
    say(
        f"{found.right} of {found.n} right: {found.accuracy:.2f} "
        f"(95 % interval {found.low:.2f} – {found.high:.2f}), {found.verdict}"
    )
    for name, (right, n) in (("real", found.real_right), ("composite", found.composite_right)):
        say(f"{name} images: {right} of {n} right")
    if found.skipped:
        say(f"without a guess: {found.skipped}")


def _write_sheet(
    plan: Path, bank: Path | None, root: Path | None, out: Path, options: dict[str, Any]
) -> None:
    from naturalize.base.artifacts import check_place
    from naturalize.base.console import say
    from naturalize.base.text import names_of
    from naturalize.inputs.plan import open_plan
    from naturalize.realism.observers import write_sheet

    check_place(out)
    opened = open_plan(plan, bank=bank, root=root)
    options["classes"] = names_of(options["classes"], list(opened[0].targets))
    write_sheet(*opened, out, **options)
    say(f"to look at: {out / 'sheet.jpg'}; to fill in: {out / 'guesses.csv'}")
    say(f"then: naturalize realism --score {out / 'answers.csv'} {out / 'guesses.csv'}")


def _probe(
    plan: Path,
    bank: Path | None,
    root: Path | None,
    out: Path,
    baselines: bool,
    options: dict[str, Any],
) -> None:
    from rich.console import Console

    from naturalize.base.artifacts import check_place
    from naturalize.base.console import say
    from naturalize.base.process import keep_memory, wait_calmly
    from naturalize.base.text import names_of
    from naturalize.inputs.plan import open_plan
    from naturalize.realism.baselines import baselines_of
    from naturalize.realism.describe import check_probes
    from naturalize.realism.report import tell
    from naturalize.realism.run import realism as run

    rivals = baselines_of(options["size"]) if baselines else []
    check_place(out)
    check_probes(options["probes"])
    keep_memory()
    wait_calmly()
    opened = open_plan(plan, bank=bank, root=root)
    options["classes"] = names_of(options["classes"], list(opened[0].targets))
    found = run(*opened, out, baselines=rivals, **options)
    Console(highlight=False).print(auc_table(found.report))
    tell(found.report)
    say(f"to look at: {out / 'sheet.jpg'}, {out / 'auc.svg'}, {out / 'telling.svg'}")


def auc_table(report: dict[str, Any]) -> Table:
    """Return the table of AUC and distances of every set, for the content of ``realism.json``."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    names = list(next(iter(report["sets"].values()))["probes"])
    table = Table("AUC, 95 % interval", *names, "KID", "nearest", box=SIMPLE_HEAD)
    for name, row in report["sets"].items():
        aucs = [
            "{:.2f} ({:.2f}–{:.2f})".format(row["probes"][p]["auc"], *row["probes"][p]["interval"])
            if p in row["probes"]
            else "–"
            for p in names
        ]
        near = f"{row['nearest']['ratio']:.2f}"
        table.add_row(name, *aucs, f"{row['kid']['value']:.3g}", near)
    return table
