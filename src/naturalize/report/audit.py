"""What the audit found, the most serious first, with the names of the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naturalize.report import formatting as form
from naturalize.report import sentences
from naturalize.report.folder import Artifact, StudyFolder
from naturalize.report.section import SHEET, Picture, Pictures, Section

TITLE, ID = "Audit", "audit"

#: How serious a finding is; the order of the list.
SERIOUS, NOTABLE, MINOR = "serious", "notable", "minor"

#: From which lift a property is linked to the class, and from which it predicts it.
LINKED, PREDICTS = 0.05, 0.2


@dataclass(frozen=True)
class Finding:
    """One thing the audit found: how serious, what, what it means, and where."""

    level: str
    title: str
    meaning: str
    lines: tuple[str, ...]
    more: str


def audit_of(study: StudyFolder) -> tuple[Artifact | None, dict[str, Any]]:
    """Return the artifact with ``audit.json``, and what that says; ``(None, {})`` if none has."""
    for name in ("audit", "catalog"):
        artifact = study.artifacts.get(name)
        if artifact is not None and (audit := artifact.json("audit.json")):
            return artifact, audit
    return None, {}


def picture_files(artifact: Artifact, audit: dict[str, Any]) -> list[tuple[str, Path]]:
    """Return name and file of the audit's pictures, in the audit's order."""
    return [(str(k), artifact.path / str(v)) for k, v in dict(audit.get("pictures") or {}).items()]


def view(study: StudyFolder, pictures: Pictures) -> Section:
    """Return the section on the audit."""
    artifact, audit = audit_of(study)
    if artifact is None:
        return Section(ID, TITLE, "The images of this study have not been audited.")
    found = findings(audit)
    confounders = [_confounder(entry) for entry in audit.get("confounders") or []]
    sheets = _sheets(artifact, audit, pictures)
    levels: dict[str, list[str]] = {SERIOUS: [], NOTABLE: [], MINOR: []}
    for finding in found:
        levels[finding.level].append(finding.title)
    tested = any(entry["balanced_accuracy"] is not None for entry in audit.get("confounders") or [])
    counts = int(audit["n_images"]), int(audit["n_usable"])
    return Section(
        ID,
        TITLE,
        sentences.audit(*counts, levels[SERIOUS], levels[NOTABLE], tested=tested),
        "audit.html.j2",
        {
            "findings": found,
            "confounders": confounders,
            "sheets": sheets,
            "labels": _labels(study, pictures),
        },
    )


def _labels(study: StudyFolder, pictures: Pictures) -> dict[str, Any]:
    """Return what ``naturalize audit-labels`` found in the study's ``labels``; ``{}`` without."""
    artifact = study.artifacts.get("labels")
    if artifact is None:
        return {}
    found = artifact.json("labels.json")
    return {
        "said": sentences.label_audit(int(found["n"]), int(found["n_doubtful"])),
        "classes": [(k, int(v["n"]), int(v["doubtful"])) for k, v in found["by_class"].items()],
        "confused": [(e["label"], e["likelier"], int(e["n"])) for e in found["confused"][:8]],
        "sheet": pictures.embed(
            artifact.path / "doubtful.jpg", "The most doubtful labels", size=SHEET
        ),
    }


@dataclass(frozen=True)
class _Kind:
    """A kind of finding: how serious, its key in ``audit.json``, its words, a line for an entry."""

    level: str
    key: str
    one: str
    many: str
    meaning: str
    line: Callable[[Any], str]


def findings(audit: dict[str, Any]) -> list[Finding]:
    """Return the findings of an audit, most serious first."""
    entries = {**audit, **_confounding(audit), **_duplicates(audit)}
    found = [_finding(kind, entries.get(kind.key) or []) for kind in _KINDS]
    for flag, paths in dict(audit.get("flagged") or {}).items():
        what = _ENCODED.get(flag, flag)
        kind = _Kind(MINOR, flag, f"file {what}", f"files {what}", "Converted on reading.", str)
        found.append(_finding(kind, paths))
    return [finding for finding in found if finding.lines]


def _finding(kind: _Kind, entries: Sequence[Any]) -> Finding:
    title = form.count(len(entries), kind.one, kind.many)
    return Finding(kind.level, title, kind.meaning, **form.few([kind.line(e) for e in entries]))


def _duplicates(audit: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the duplicates that are not listed as label conflicts already."""
    conflicts = [*(audit.get("label_conflicts") or []), *(audit.get("near_label_conflicts") or [])]
    listed = [entry["paths"] for entry in conflicts]
    return {
        key: [paths for paths in audit.get(key) or [] if paths not in listed]
        for key in ("exact_duplicates", "near_duplicates")
    }


def _paths(paths: Sequence[str]) -> str:
    return " = ".join(paths)


def _conflict(entry: dict[str, Any]) -> str:
    pairs = zip(entry["paths"], entry["labels"], strict=True)
    return " = ".join(f"{path} ({label or 'no label'})" for path, label in pairs)


def _reason(entry: dict[str, Any]) -> str:
    return f"{entry['path']}: {entry['reason']}"


def _size(entry: dict[str, Any]) -> str:
    labels = [f"{label} {form.number(n)}" for label, n in entry["labels"].items()]
    n = form.count(entry["n"], "image")
    return f"{entry['width']} × {entry['height']}: {n} ({', '.join(labels)})"


def _tiny(entry: dict[str, Any]) -> str:
    return f"{entry['label']}: {form.count(entry['n'], 'image')}"


#: The kinds of findings, most serious first.
_KINDS = (
    _Kind(
        SERIOUS, "label_conflicts", "picture with two labels", "pictures with two labels",
        "The same pixels are filed under different classes: one of the labels is wrong.", _conflict,
    ),
    _Kind(
        SERIOUS, "near_label_conflicts",
        "nearly equal picture with two labels", "nearly equal pictures with two labels",
        "Nearly the same picture under different classes: look at them.", _conflict,
    ),
    _Kind(
        SERIOUS, "unreadable", "unreadable file", "unreadable files",
        "Listed, counted and never used.", _reason,
    ),
    _Kind(
        SERIOUS, "predicting",
        "property of the file predicts the class", "properties of the file predict the class",
        "A model can learn the file instead of the cell; the table below shows how far.", str,
    ),
    _Kind(
        NOTABLE, "linked", "property of the file is linked to the class",
        "properties of the file are linked to the class",
        "A model can gain a little from it without looking at the cell.", str,
    ),
    _Kind(
        NOTABLE, "exact_duplicates", "picture in several files", "pictures in several files",
        "One file of each is used; copies would count the same cell twice.", _paths,
    ),
    _Kind(
        NOTABLE, "near_duplicates", "set of near duplicates", "sets of near duplicates",
        "Kept together in one part of the split, so that none is tested on its twin.", _paths,
    ),
    _Kind(
        NOTABLE, "tiny_classes", "tiny class", "tiny classes",
        "Few images to learn from, and a wide interval around every score.", _tiny,
    ),
    _Kind(
        MINOR, "odd_sizes", "odd size", "odd sizes",
        "Images that are not of the usual size: often another camera or another export.", _size,
    ),
)  # fmt: skip

#: What the audit's flags of single files mean.
_ENCODED = {
    "alpha": "with transparency",
    "cmyk": "in CMYK",
    "deep": "with more than 8 bits a channel",
    "rescaled": "of a bit depth taken from their largest number",
    "pages": "that are the first of several in their file",
    "exif_rotated": "turned by an EXIF tag",
    "grey": "without colour",
    "palette": "with a palette",
}


def _confounding(audit: dict[str, Any]) -> dict[str, list[str]]:
    """Return the properties that predict the class, a line each: ``predicting`` and ``linked``."""
    found: dict[str, list[str]] = {"predicting": [], "linked": []}
    for entry in audit.get("confounders") or []:
        gain = lift(entry)
        if gain >= LINKED:
            score, chance = form.score(entry["balanced_accuracy"]), form.score(entry["chance"])
            line = f"{entry['property']}: balanced accuracy {score}, chance {chance}"
            found["predicting" if gain >= PREDICTS else "linked"].append(line)
    return found


def lift(entry: dict[str, Any]) -> float:
    """Return the share of the way from chance (0) to certainty (1) that a property goes alone.

    0 where the interval leaves room for chance, or the property was not tested.
    """
    score, chance, interval = entry["balanced_accuracy"], entry["chance"], entry["interval"]
    if score is None or interval is None or interval[0] <= chance or chance >= 1:
        return 0.0
    return float((score - chance) / (1 - chance))


def _confounder(entry: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table: how well a property of the file alone predicts the class."""
    suspicious = lift(entry) >= LINKED
    return {
        "name": str(entry["property"]),
        "bar": [(entry["balanced_accuracy"] or 0.0, "warned" if suspicious else "plain")],
        "mark": entry["chance"],
        "score": entry["balanced_accuracy"],
        "interval": entry["interval"],
        "verdict": str(entry["verdict"]),
        "suspicious": suspicious,
    }


def _sheets(artifact: Artifact, audit: dict[str, Any], pictures: Pictures) -> list[Picture]:
    """Return the pictures that no table replaces: duplicates side by side, tints and sizes."""
    files = dict(picture_files(artifact, audit))
    wanted = {
        "duplicates": ("Duplicates in pairs", "Conflicting, near and exact duplicates, in pairs"),
        "background tints": (
            "Background colour of the images, class by class",
            "Background colour of every class, from yellowish to lilac",
        ),
        "sizes": ("How many images have which size", "Sizes of the images"),
    }
    found = [
        pictures.embed(files[name], alt, caption, size=SHEET)
        for name, (alt, caption) in wanted.items()
        if name in files and (name != "sizes" or audit.get("odd_sizes"))
    ]
    return [sheet for sheet in found if sheet is not None]
