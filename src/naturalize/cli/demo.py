"""``naturalize demo``: a whole study on procedural smears."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Workers


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Study folder.")] = Path("runs/demo"),
    workers: Workers = None,
) -> None:
    """Run a whole study on procedural smears and write its report.

    Makes a phantom of 11 classes, finds and cuts its cells, composes new images, trains a small
    network without and with them, evaluates, explains and reports: a few minutes on two cores.
    It shows that the code works; it says nothing about blood.

    **Examples**

    ```
    naturalize demo
    naturalize demo -o /tmp/demo --workers 2
    ```
    """
    from naturalize.base.console import result
    from naturalize.study.run import run_study
    from naturalize.study.settings import load_study

    overrides = [f"engine.workers={workers}"] if workers else []
    result(f"report: {run_study(load_study('demo', overrides), out)}")
