"""``naturalize report``: a study folder to one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from naturalize.cli.options import Overwrite


def report(
    study_folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that 'naturalize run', 'labs' or 'read' wrote.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write.  [default: STUDY_FOLDER/report.html]"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the report of a study: one HTML file with everything inside.

    It says what went in, what the audit found, shows cells and composites, the scores with their
    intervals, and the worst mistakes. What has not been made yet is left out, and it says so. Of
    other laboratories it says what `naturalize labs` wrote, of whole fields what `naturalize read`
    did: to labs/ or fields/ in the study, or to a folder that is named instead of one.

    **Examples**

    ```
    naturalize report runs/demo
    naturalize report runs/pbc11 -o pbc11.html
    naturalize report labs
    ```
    """
    from naturalize.base.artifacts import check_file
    from naturalize.base.console import result
    from naturalize.report import write_report

    if out is not None:
        check_file(out)
    result(f"report: {write_report(study_folder, out)}")
