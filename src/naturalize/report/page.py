"""The page: its head, the order of its sections, how it was made, and the one file it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naturalize.base.artifacts import write_bytes
from naturalize.base.errors import ArtifactError, InputError
from naturalize.base.plots import PALETTE
from naturalize.report import (
    audit,
    cells,
    composites,
    explanations,
    fields,
    inputs,
    labs,
    models,
    robustness,
    sentences,
)
from naturalize.report import formatting as form
from naturalize.report.folder import SINGLE, Run, StudyFolder, open_study
from naturalize.report.section import Pictures, Section, View

if TYPE_CHECKING:
    from jinja2 import Template

#: The data set paper of PBC; its licence asks to be named wherever results are shown.
PBC_CITATION = (
    "Acevedo A., Merino A., Alférez S., Molina Á., Boldú L., Rodellar J.: A dataset of microscopic "
    "peripheral blood cell images for development of automatic recognition systems. "
    "Data in Brief 30 (2020) 105474. CC BY 4.0."
)
PBC_LINK = "https://doi.org/10.17632/snkd93bnjr.1"


@dataclass(frozen=True)
class Banner:
    """A warning over everything else; ``kind`` is ``"leak"`` or ``"phantom"``."""

    kind: str
    title: str
    text: str


@dataclass(frozen=True)
class Card:
    """A key figure: what it is, the figure, and a line that qualifies it."""

    label: str
    value: str
    note: str = ""


def verdict(study: StudyFolder) -> str:
    """Return the study's result as one sentence."""
    run = study.chosen
    if study.alone == "labs":
        return "One model over the images of several laboratories."
    if study.alone == "fields":
        return "Every cell of whole fields."
    if run is None:
        return "No model of this study has been evaluated yet."
    n_runs = len(study.scored)
    by_validation = study.chosen_by_validation
    chosen, _ = sentences.choice(n_runs, by_validation=by_validation, tied=study.chosen_tied)
    return sentences.verdict(
        run.name,
        run.metrics,
        chosen=chosen,
        n_runs=n_runs,
        protocol=study.protocol,
        outside=study.outside,
    )


def banners(study: StudyFolder) -> list[Banner]:
    """Return the warnings that stand over everything else."""
    found = []
    if study.protocol == "paper":
        counted = f"Counted: {study.leak['statement']}. " if "statement" in study.leak else ""
        text = (
            "Protocol “paper”: real images and composites were pooled before the split. The test "
            "images may hold composites, and cells of images that the model was trained on. "
            f"{counted}The scores show the size of that leak. They do not say how well the model "
            "classifies new blood."
        )
        found.append(Banner("leak", "These scores leak", text))
    elif study.outside:
        text = (
            f"{form.count(study.outside, 'composite')} {form.verb(study.outside, 'has', 'have')} a "
            "parent outside the training images. The test images may not be new to a model that "
            "was trained on these composites."
        )
        found.append(Banner("leak", "These scores leak", text))
    seen = [run for run in study.scored if run.metrics.get("n_trained_on")]
    if seen and study.protocol != "paper":
        each = [
            f"“{run.name}” was trained on {form.number(run.metrics['n_trained_on'])} of its "
            f"{form.number(run.metrics['n'])} test images"
            for run in seen
        ]
        text = f"{form.listed(each)}. Scores on them say nothing of new images."
        found.append(Banner("leak", "These scores leak", text))
    if study.is_phantom:
        text = (
            "All images of this study were drawn by a program. They prove that the code works: no "
            "figure on this page says anything about real cells."
        )
        found.append(Banner("phantom", "Procedural images, not blood", text))
    return found


def cards(study: StudyFolder) -> list[Card]:
    """Return the key figures."""
    found = [*_score_cards(study.chosen)] if study.chosen else []
    if "train" in study.split_counts:
        n = sum(study.split_counts["train"].values())
        note = "with the pooled composites" if study.pooled else "without composites"
        found.append(Card("Training images", form.number(n), note))
    if "plan" in study.artifacts:
        counted = f"{form.number(study.outside)} with a parent outside train"
        note = counted if "outside" in study.json("plan", "lineage.json") else "planned"
        found.append(Card("Composites", form.number(sum(study.composed.values())), note))
    return found


def _score_cards(run: Run) -> list[Card]:
    m = run.metrics
    intervals = dict(m.get("intervals") or {})
    level = sentences.interval_name(m).removesuffix(" interval")

    def note(name: str) -> str:
        return f"{form.span(intervals[name])} ({level})" if name in intervals else ""

    found = [
        Card("Macro-F1", form.score(m["macro_f1"]), note("macro_f1")),
        Card("Accuracy", form.score(m["accuracy"]), note("accuracy")),
    ]
    tested = {label: v["f1"] for label, v in m["per_class"].items() if v["support"]}
    low = min(tested.values(), default=0.0)
    weakest = [label for label, f1 in tested.items() if f1 == low]
    if len(weakest) < len(tested):
        name = "Weakest class" if len(weakest) == 1 else "Weakest classes"
        found.append(Card(name, ", ".join(weakest), f"F1 {form.score(low)}"))
    classes = form.count(len(tested), "class", "classes")
    return [*found, Card("Test images", form.number(m["n"]), f"in {classes}")]


def provenance(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on how the study was made: costs, fingerprints, versions, settings."""
    seconds = {name: float(cost.get("seconds") or 0.0) for name, cost in study.stages.items()}
    longest = max(seconds.values(), default=0.0) or 1.0
    versions = {str(k): str(v) for k, v in dict(study.log.get("versions") or {}).items()}
    version = versions.get("naturalize", "")
    return Section(
        "making",
        "How this was made",
        sentences.provenance(seconds, version, settings=bool(study.settings_text)),
        "making.html.j2",
        {
            "stages": [(k, seconds[k] / longest, cost) for k, cost in study.stages.items()],
            "some_skipped": any(cost.get("skipped") for cost in study.stages.values()),
            "artifacts": _artifacts(study),
            "versions": list(versions.items()),
            "settings": study.settings_text,
            "citation": (PBC_CITATION, PBC_LINK) if study.is_pbc else None,
        },
    )


def _artifacts(study: StudyFolder) -> list[tuple[str, str, str]]:
    """Return folder, kind and fingerprint of every artifact, in the order of the work."""
    there = {f"{name}/": study.artifacts.get(name) for name in SINGLE}
    last = {"explanations/": there.pop("explanations/")}
    for run in study.runs:
        there[f"models/{run.name}/"] = run.model
        there[f"evaluations/{run.name}/"] = run.evaluation
    found = {**there, **last}.items()
    return [(name, one.kind, one.fingerprint) for name, one in found if one is not None]


#: The sections, in the order of the page.
VIEWS: tuple[View, ...] = (
    inputs.view,
    audit.view,
    cells.view,
    composites.view,
    models.training,
    models.scores,
    robustness.view,
    labs.view,
    fields.view,
    explanations.view,
    provenance,
)


def views_of(study: StudyFolder) -> tuple[View, ...]:
    """Return the sections of a page; those that a study need not have, only where it has."""
    if study.alone is not None:
        return ({"labs": labs.view, "fields": fields.view}[study.alone],)
    optional = (("labs", labs.view), ("fields", fields.view))
    absent = {view for kind, view in optional if kind not in study.artifacts}
    if not robustness.tested(study):
        absent.add(robustness.view)
    return tuple(view for view in VIEWS if view not in absent)


def write_report(study_folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a study as one self-contained HTML file.

    The file has its style and its pictures inside, runs no script and loads nothing. The same
    study folder gives the same bytes.

    Parameters
    ----------
    study_folder
        The folder that ``naturalize run`` wrote, or that ``naturalize labs`` or ``read`` did. What
        a stage has not made yet is left out of the report, with a line that says so. What ``labs``
        wrote to ``labs/`` in a study has a section, and what ``read`` wrote to ``fields/``.
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
    views = views_of(study)
    # explanations are embedded first: if pictures must be left out, not the mistakes
    order = sorted(views, key=lambda view: view is not explanations.view)
    try:
        head: dict[str, Any] = {"name": study.name, "verdict": verdict(study)}
        head |= {"banners": banners(study), "cards": cards(study)}
        made = {view: view(study, pictures) for view in order}
    except KeyError as error:
        raise ArtifactError(
            f"{study.path}: an artifact lacks {error}, which the report needs; run the study again"
        ) from error
    return template().render(
        palette=PALETTE,
        head=head,
        sections=[made[view] for view in views],
        left_out=form.count(pictures.left_out, "picture") if pictures.left_out else "",
    )


@cache
def template() -> Template:
    """Return the template of a page: a head and sections."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("naturalize.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["form"] = form
    return environment.get_template("report.html.j2")
