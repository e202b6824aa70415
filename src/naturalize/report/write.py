"""Write the report: one HTML file that needs nothing else, neither network nor script."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from naturalize.base.artifacts import write_bytes
from naturalize.base.errors import ArtifactError, InputError
from naturalize.report import (
    view_audit,
    view_cells,
    view_composites,
    view_explanations,
    view_head,
    view_inputs,
    view_making,
    view_scores,
    view_training,
    words,
)
from naturalize.report.folder import StudyFolder, open_study
from naturalize.report.pictures import Pictures
from naturalize.report.section import Section, View

if TYPE_CHECKING:
    from jinja2 import Template

#: The sections, in the order of the page.
VIEWS: tuple[View, ...] = (
    view_inputs.view,
    view_audit.view,
    view_cells.view,
    view_composites.view,
    view_training.view,
    view_scores.view,
    view_explanations.view,
    view_making.view,
)


def write_report(study_folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a study as one self-contained HTML file.

    The file has its style and its pictures inside, runs no script and loads nothing. The same
    study folder gives the same bytes.

    Parameters
    ----------
    study_folder
        The folder that ``naturalize run`` wrote. What a stage has not made yet is left out of the
        report, with a line that says so.
    out
        The file to write; ``report.html`` in the study folder by default.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If there is no such folder, no study in it, or ``out`` is a folder.
    ArtifactError
        If an artifact in it is damaged or of another format version.

    Examples
    --------
    >>> write_report("runs/demo")  # doctest: +SKIP
    PosixPath('runs/demo/report.html')
    """
    study = open_study(study_folder)
    file = Path(out) if out is not None else study.path / "report.html"
    if file.is_dir():
        raise InputError(f"{file}: is a folder; name a file, such as {file / 'report.html'}")
    write_bytes(file, render(study).encode())
    return file


def render(study: StudyFolder) -> str:
    """Return the report of a study as HTML."""
    pictures = Pictures()
    # explanations are embedded first: if pictures must be left out, not the mistakes
    order = sorted(VIEWS, key=lambda view: view is not view_explanations.view)
    made: dict[View, Section] = {}
    try:
        over = view_head.head(study)
        for view in order:
            made[view] = view(study, pictures)
    except KeyError as error:
        raise ArtifactError(
            f"{study.path}: an artifact lacks {error}, which the report needs; run the study again"
        ) from error
    return _template().render(
        head=over,
        sections=[made[view] for view in VIEWS],
        left_out=words.count(pictures.left_out, "picture") if pictures.left_out else "",
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("naturalize.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")
