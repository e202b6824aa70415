"""``naturalize run``: a study file to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Workers


def run(
    study: Annotated[
        Path,
        typer.Argument(
            help="The study's YAML file, or pbc11, model-pbc11 or demo.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. data.root=images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Study folder.  [default: runs/NAME]")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this stage.")] = None,
    force: Annotated[
        list[str] | None, typer.Option(help="Run this stage again, though nothing changed.")
    ] = None,
    workers: Workers = None,
    engine: Annotated[str | None, typer.Option(help="serial, processes or ray.")] = None,
) -> None:
    """Run all stages of a study, from images to a report.

    A stage whose settings and inputs have not changed is not run again; a killed run goes on where
    it stopped. Relative paths in the study file count from the current folder.

    A file with `arms` is a grid: every arm is trained at every number of images and with every
    seed, and the page shows learning curves, differences and how many images an arm is worth.

    **Examples**

    ```
    naturalize run pbc11 --set data.root=PBC_dataset_normal_DIB
    naturalize run mine.yaml -o runs/try --until bank
    naturalize run mine.yaml --force evaluate-real-only --workers 4
    naturalize run studies/few-images.yaml --set data.root=PBC_dataset_normal_DIB
    ```
    """
    from naturalize.base.console import result as print_result
    from naturalize.base.errors import SettingsError
    from naturalize.study.grid import is_grid, parse_grid, run_grid
    from naturalize.study.run import run_study
    from naturalize.study.settings import parse_study, read_study

    overrides = list(settings or [])
    overrides += [f"engine.workers={workers}"] if workers else []
    overrides += [f"engine.backend={engine}"] if engine else []
    raw = read_study(study, overrides)
    if is_grid(raw):
        if until or force:
            raise SettingsError("--until and --force are for a study; this file is a grid of them")
        print_result(f"report: {run_grid(parse_grid(raw, source=str(study)), out)}")
        return
    result = run_study(parse_study(raw, source=str(study)), out, until=until, force=force or ())
    print_result(f"{'report' if until is None else 'study folder'}: {result}")
