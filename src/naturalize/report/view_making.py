"""How the study was made: what each stage cost, fingerprints, versions, settings, whom to cite."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from naturalize.report import charts, words
from naturalize.report.folder import PER_RUN, SINGLE, StudyFolder
from naturalize.report.pictures import Pictures
from naturalize.report.section import Section
from naturalize.report.view_head import stages

TITLE, ID = "How this was made", "making"

#: The data set paper of PBC; its licence asks to be named wherever results are shown.
PBC_CITATION = (
    "Acevedo A., Merino A., Alférez S., Molina Á., Boldú L., Rodellar J.: A dataset of microscopic "
    "peripheral blood cell images for development of automatic recognition systems. "
    "Data in Brief 30 (2020) 105474. CC BY 4.0."
)
PBC_LINK = "https://doi.org/10.17632/snkd93bnjr.1"


@dataclass(frozen=True)
class StageRow:
    """What one stage cost."""

    name: str
    seconds: str
    bar: Markup
    peak: str
    fingerprint: str
    skipped: bool


def view(study: StudyFolder, _pictures: Pictures) -> Section:
    """Return the section on how the study was made."""
    rows = _rows(study)
    versions = dict(study.log.get("versions") or {})
    return Section(
        ID,
        TITLE,
        _takeaway(study),
        "making.html.j2",
        {
            "stages": rows,
            "some_skipped": any(row.skipped for row in rows),
            "artifacts": _artifacts(study),
            "versions": [(str(k), str(v)) for k, v in versions.items()],
            "settings": study.settings_text,
            "citation": (PBC_CITATION, PBC_LINK) if study.is_pbc else None,
        },
    )


def _takeaway(study: StudyFolder) -> str:
    costs = stages(study)
    version = dict(study.log.get("versions") or {}).get("naturalize")
    made = f"naturalize {version}" if version else "naturalize"
    if not costs:
        return f"Made by {made}; what its stages cost was not written down."
    total = sum(float(stage.get("seconds", 0.0)) for stage in costs.values())
    longest = max(costs, key=lambda name: (float(costs[name].get("seconds", 0.0)), name))
    share = float(costs[longest].get("seconds", 0.0)) / total if total else 0.0
    return (
        f"Made by {made} in {words.duration(total)}, of which {longest} took "
        f"{words.percent(share)}; the settings below make it again."
    )


def _rows(study: StudyFolder) -> list[StageRow]:
    costs = stages(study)
    seconds = {name: float(stage.get("seconds", 0.0)) for name, stage in costs.items()}
    longest = max(seconds.values(), default=0.0) or 1.0
    return [
        StageRow(
            name,
            words.duration(stage.get("seconds")),
            charts.bar([(seconds[name] / longest, "plain", name)]),
            words.memory(stage.get("peak_mb")),
            str(stage.get("fingerprint") or words.ABSENT),
            bool(stage.get("skipped")),
        )
        for name, stage in costs.items()
    ]


def _artifacts(study: StudyFolder) -> list[tuple[str, str, str]]:
    """Return folder, kind and fingerprint of every artifact, in the order of the work."""
    found = [
        (f"{name}/", study.artifacts[name].kind, study.artifacts[name].fingerprint)
        for name in SINGLE
        if name in study.artifacts and name != "explanations"
    ]
    for run in study.runs:
        for folder, artifact in zip(PER_RUN, (run.model, run.evaluation), strict=True):
            if artifact is not None:
                found.append((f"{folder}/{run.name}/", artifact.kind, artifact.fingerprint))
    if "explanations" in study.artifacts:
        last = study.artifacts["explanations"]
        found.append(("explanations/", last.kind, last.fingerprint))
    return found
