"""``run_study``: all stages of a study in one call."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from naturalize.base.artifacts import write_bytes, write_json
from naturalize.study.check import check_study
from naturalize.study.runner import run_stages
from naturalize.study.settings import StudySettings, dump_study
from naturalize.study.stages import Stages

#: What decides numbers; the libraries of training last.
_LIBRARIES = (
    "naturalize", "numpy", "opencv-python-headless", "scikit-image", "scikit-learn", "pyarrow",
    "torch", "timm", "safetensors",
)  # fmt: skip


def run_study(
    study: StudySettings,
    folder: str | Path | None = None,
    *,
    until: str | None = None,
    force: Sequence[str] = (),
) -> Path:
    """Run all stages of a study and write its report.

    Stages whose settings and inputs have not changed are not run again; a study that was killed
    continues where it stopped.

    Parameters
    ----------
    study
        The settings, from :func:`naturalize.study.settings.load_study`. Every name in them is
        checked before the first stage, and the classes as soon as the images are listed.
    folder
        The study folder; ``runs/<name>`` by default.
    until
        Stop after this stage; no report is written then.
    force
        Stages to run again.

    Returns
    -------
    pathlib.Path
        The report, or the study folder when ``until`` is given.
    """
    folder = Path(folder) if folder is not None else Path("runs") / study.name
    check_study(study)
    stages = Stages(study, folder).all()
    costs = run_stages(folder, stages, until=until, force=force)
    write_bytes(folder / "study.yaml", dump_study(study).encode())
    write_json(folder / "study.json", {"name": study.name, "stages": costs, "versions": versions()})
    if until:
        return folder
    from naturalize.report import write_report

    return write_report(folder)


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the libraries that decide numbers."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found
