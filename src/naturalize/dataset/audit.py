"""The audit: what in a catalog can mislead a classifier, or the person who reads its scores."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import write_json
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.confounders import confounders
from naturalize.dataset.pictures import draw_pictures
from naturalize.dataset.relations import usual_size

#: Classes with fewer usable images than this are called tiny.
TINY = 30


def audit(catalog: Catalog) -> dict[str, Any]:
    """Return what the catalog's own columns and :func:`confounders` show, as JSON values.

    ``n_images``, ``n_usable``, ``labels``, ``counts`` {label: n}, ``unreadable``, ``skipped``
    [{path, reason}], ``dropped`` {prefix: n}, ``exact_duplicates``, ``near_duplicates`` [[path,
    …]], ``label_conflicts``, ``near_label_conflicts`` [{paths, labels}], ``usual_size``,
    ``odd_sizes`` [{width, height, n, labels}], ``tiny_classes`` [{label, n}], ``flags`` {flag: n},
    ``flagged`` {flag: [path, …]} for what is unusual about single files, ``confounders`` and
    ``findings`` [{level, text}], the most serious first.
    """
    rows = catalog.table.select(
        ["path", "label", "width", "height", "flags", "duplicate_of", "near_duplicate_of"]
    ).to_pylist()
    found: dict[str, Any] = {
        "n_images": len(rows),
        "n_usable": catalog.usable().num_rows,
        "labels": list(catalog.labels),
        "counts": catalog.counts(),
        "unreadable": catalog.unreadable(),
        "skipped": catalog.skipped,
        "dropped": catalog.dropped,
        **_duplicates(rows),
        **_sizes(rows),
        "tiny_classes": [
            {"label": label, "n": n} for label, n in catalog.counts().items() if n < TINY
        ],
        "flags": dict(sorted(Counter(flag for row in rows for flag in row["flags"]).items())),
        "flagged": _flagged(rows),
        "confounders": confounders(catalog),
    }
    found["findings"] = findings(found)
    return found


def write_audit(catalog: Catalog, audit: dict[str, Any], folder: Path) -> None:
    """Write ``audit.json`` and the pictures (``audit/*.svg``, ``audit/*.jpg``) into ``folder``."""
    folder = Path(folder)
    pictures = draw_pictures(catalog, audit, folder / "audit")
    named = {name: f"audit/{file}" for name, file in pictures.items()}
    write_json(folder / "audit.json", {**audit, "pictures": named})


def _duplicates(rows: list[dict[str, Any]]) -> dict[str, Any]:
    label_of = {row["path"]: row["label"] for row in rows}
    found: dict[str, list[Any]] = {}
    for kind, column, conflict in (
        ("exact_duplicates", "duplicate_of", "label_conflicts"),
        ("near_duplicates", "near_duplicate_of", "near_label_conflicts"),
    ):
        sets: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            if row[column] is not None:
                sets[row[column]].append(row["path"])
        found[kind] = [sorted([first, *others]) for first, others in sorted(sets.items())]
        found[conflict] = [
            {"paths": paths, "labels": [label_of[path] for path in paths]}
            for paths in found[kind]
            if len({label_of[path] for path in paths} - {None}) > 1
        ]
    return found


def _sizes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    usual = usual_size(rows)
    odd: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for row in rows:
        if "odd_size" in row["flags"]:
            odd[row["width"], row["height"]][row["label"] or "no label"] += 1
    return {
        "usual_size": usual and dict(zip(("width", "height", "n"), usual, strict=True)),
        "odd_sizes": [
            {"width": w, "height": h, "n": n.total(), "labels": dict(sorted(n.items()))}
            for (w, h), n in sorted(odd.items(), key=lambda entry: (-entry[1].total(), entry[0]))
        ],
    }


def _flagged(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the files with an unusual encoding, by flag."""
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for flag in row["flags"]:
            if flag in _MEANING:
                found[flag].append(row["path"])
    return dict(sorted(found.items()))


def findings(audit: dict[str, Any]) -> list[dict[str, str]]:
    """Return what a person should know of an audit: ``level`` (``alert``, ``note``), ``text``."""
    levels = [("alert", text) for text in _alerts(audit)] + [
        ("note", text) for text in _notes_on_classes(audit) + _notes_on_files(audit)
    ]
    return [{"level": level, "text": text} for level, text in levels]


def _alerts(audit: dict[str, Any]) -> list[str]:
    found = [f"one picture, {_two_labels(entry)}" for entry in audit["label_conflicts"]]
    found += [
        f"nearly one picture, {_two_labels(entry)}" for entry in audit["near_label_conflicts"]
    ]
    if bad := audit["unreadable"]:
        found.append(f"{_n(len(bad), 'image')} cannot be read ({_first(bad)})")
    return found + _confounded(audit, "predicts")


def _notes_on_classes(audit: dict[str, Any]) -> list[str]:
    found = _confounded(audit, "hints")
    if tiny := audit["tiny_classes"]:
        named = ", ".join(f"{entry['label']} ({entry['n']})" for entry in tiny)
        found.append(f"{_n(len(tiny), 'class', 'classes')} with fewer than {TINY} images: {named}")
    if audit["dropped"]:
        named = ", ".join(f"{name} ({n})" for name, n in audit["dropped"].items())
        found.append(f"dropped, no class in this scheme: {named}")
    return found


def _notes_on_files(audit: dict[str, Any]) -> list[str]:
    found = []
    if sets := audit["exact_duplicates"]:
        found.append(f"{_n(len(sets), 'picture')} in several files each; one file of each is used")
    if sets := audit["near_duplicates"]:
        found.append(f"{_n(len(sets), 'set')} of near duplicates, kept in one part of a split")
    if odd := audit["odd_sizes"]:
        usual = audit["usual_size"]
        n = _n(sum(entry["n"] for entry in odd), "image")
        found.append(f"{n} not of the usual {usual['width']} × {usual['height']} pixels")
    for flag, paths in audit["flagged"].items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        found.append(f"{_n(len(paths), 'image')} {_MEANING[flag]} ({paths[0]}{more})")
    if skipped := audit["skipped"]:
        found.append(f"{_n(len(skipped), 'entry', 'entries')} skipped ({_first(skipped)})")
    return found


_MEANING = {
    "cmyk": "in CMYK, converted to RGB",
    "palette": "with a palette, converted to RGB",
    "grey": "without colour",
    "alpha": "with transparency, laid over white",
    "deep": "with more than 8 bits a channel, brought to 8",
    "rescaled": "of a bit depth that the file does not state, taken from its largest number",
    "pages": "that are the first of several in their file",
    "exif_rotated": "turned as their EXIF tag asks",
}


def _n(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _first(entries: list[dict[str, str]]) -> str:
    """Return the first path and its reason, and how many more there are."""
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    return f"{entries[0]['path']}: {entries[0]['reason']}{more}"


def _two_labels(conflict: dict[str, Any]) -> str:
    both = zip(conflict["paths"], conflict["labels"], strict=True)
    return "two labels: " + ", ".join(f"{path} ({label or 'no label'})" for path, label in both)


def _confounded(audit: dict[str, Any], verb: str) -> list[str]:
    """Return a line for each file property whose verdict starts with ``verb``."""
    return [
        f"the file's {entry['property']} alone {entry['verdict']} (balanced accuracy "
        f"{entry['balanced_accuracy']:.2f} [{entry['interval'][0]:.2f}, "
        f"{entry['interval'][1]:.2f}], chance {entry['chance']:.2f})"
        + (
            "; bytes also follow from what is pictured"
            if entry["property"] == "number of bytes"
            else ""
        )
        for entry in audit["confounders"]
        if entry["verdict"].startswith(verb)
    ]
