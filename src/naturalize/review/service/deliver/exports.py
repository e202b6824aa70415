"""A reading as files: tables, a report's contents, FHIR, a data set, model against person."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from naturalize.base.artifacts import json_bytes
from naturalize.base.errors import unknown
from naturalize.base.table import csv_text
from naturalize.fields.outcome import CUT
from naturalize.review.service import roles
from naturalize.review.service.answers import Answer
from naturalize.review.service.deliver import comparison, labelled, pdf
from naturalize.review.service.deliver.differential import Share, answer
from naturalize.review.service.deliver.fhir import bundle
from naturalize.review.service.review import Review
from naturalize.review.service.roles import Actor

#: Columns of the table of cells.
COLUMNS = (
    "cell", "path", "field", "number", "x0", "y0", "x1", "y1", "label", "seen", "confirmed_by",
    "confirmed_at", "model_label", "confidence", "flag",
)  # fmt: skip

#: A value of a table that begins so is a formula to a spreadsheet (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Export:
    """A file to send: its bytes or where it lies, its media type, and its name."""

    data: bytes | Path
    media_type: str
    name: str


def report(review: Review, reading: int, actor: Actor) -> dict[str, Any]:
    """Return all that a report of a reading states; JSON-able.

    ``name``, ``created``, ``model``, ``weights_hash``, ``generated`` (UTC), ``version``;
    ``reading`` (number, blind, signed_by, signed_at, reopened: whether it ever was), ``progress``,
    ``differential``;
    ``model_agrees`` (`Share` of the cells that a person confirmed); ``second`` (cells, same, kappa,
    interval, readers) once two readings are signed, else null.
    """
    settings, about = review.settings, review.reading(reading)
    same = seen = 0
    for each in review.answers(reading, actor):
        if each.seen and each.label is not None:
            seen += 1
            same += each.label == each.cell.model_label
    signed = [r for r in review.readings(actor) if r.signed_at and r.number in (1, 2)]
    second = None
    if len(signed) == 2:
        found = review.agreement(actor)
        second = {
            "cells": found.n,
            "same": found.same,
            "kappa": found.kappa,
            "interval": found.interval,
            "readers": [r.signed_by for r in signed],
        }
    return {
        "name": settings.name,
        "created": settings.created,
        "model": settings.model,
        "weights_hash": settings.weights_hash,
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("naturalize"),
        "reading": {
            "number": about.number,
            "blind": about.blind,
            "signed_by": about.signed_by,
            "signed_at": about.signed_at,
            "reopened": review.reopened(reading),
        },
        "progress": asdict(review.progress(reading)),
        "differential": answer(review, reading, actor),
        "model_agrees": asdict(Share.counted(same, seen)),
        "second": second,
    }


def export(review: Review, reading: int, format: str, actor: Actor, **more: str | None) -> Export:
    """Return a reading as a file of ``format``: one of `FORMATS`.

    ``more`` is for ``fhir``: ``patient`` and ``specimen``.

    ``NotAllowedError`` if the actor may not export, or not see this reading; ``InputError`` for a
    data set or a comparison without a confirmed cell.
    """
    roles.check(actor, "export")
    if format not in FORMATS:
        raise unknown("format", format, list(FORMATS))
    media_type, made = FORMATS[format]
    ending = format if "." in format else f"fhir.{'json'}" if format == "fhir" else format
    name = f"{safe(review.settings.name)}-{reading}{'-' if '.' in ending else '.'}{ending}"
    return Export(made(review, reading, actor, **more), media_type, name)


def table(review: Review, reading: int, actor: Actor) -> bytes:
    """Return every cell as CSV, with `COLUMNS`; text that a spreadsheet would run is quoted."""
    rows = []
    for each in review.answers(reading, actor):
        cell = each.cell
        box = cell.box or (None,) * 4
        confirmed = (each.user, each.at) if each.seen else (None, None)
        values = (
            each.id, cell.path, cell.field, cell.number, *box, each.label, int(each.seen),
            *confirmed, cell.model_label,
            None if cell.confidence is None else f"{cell.confidence:.4f}", cell.flag,
        )  # fmt: skip
        rows.append([_plain(value) for value in values])
    return csv_text(COLUMNS, rows).encode()


def _plain(value: Any) -> Any:
    risky = isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if risky else value


def compared(review: Review, reading: int, actor: Actor) -> dict[str, Any]:
    """Return the model's answers against the person's; see `comparison.compare`.

    Only cells that a person has seen count, and none that the edge of its field cuts. A sample is a
    field; of single images, the folder they lie in.
    """
    found = list(_confirmed(review.answers(reading, actor)))
    return comparison.compare(
        review.settings.bins,
        [each.cell.model_label for each in found],
        [each.label or "" for each in found],
        [sample_of(each) for each in found],
    )


class Comparisons:
    """What `compared` answers, made once for each state of a reading: a page asks three times."""

    def __init__(self, review: Review) -> None:
        self._review, self._lock = review, threading.Lock()
        self._held: dict[int, tuple[Any, dict[str, Any]]] = {}  # the last one of each reading

    def of(self, reading: int, actor: Actor) -> dict[str, Any]:
        """Return a comparison, which is not to be changed; ``NotAllowedError`` as `compared`."""
        # asked first: it refuses whoever may not see the reading
        version = (*self._review.version(reading, actor), tuple(self._review.settings.bins))
        with self._lock:
            if reading not in self._held or self._held[reading][0] != version:
                self._held[reading] = version, compared(self._review, reading, actor)
            return self._held[reading][1]


def sample_of(each: Answer) -> str:
    """Return the sample that a cell is of: its field, or the folder of its image."""
    return each.cell.field or PurePosixPath(each.cell.path).parent.as_posix()


def _confirmed(answers: Iterator[Answer]) -> Iterator[Answer]:
    for each in answers:
        if each.seen and each.label is not None and CUT not in each.cell.flag.split("; "):
            yield each


def _json(review: Review, reading: int, actor: Actor) -> bytes:
    cells = [
        {
            "cell": each.id,
            "path": each.cell.path,
            "field": each.cell.field,
            "number": each.cell.number,
            "box": each.cell.box,
            "label": each.label,
            "seen": each.seen,
            "confirmed_by": each.user if each.seen else None,
            "confirmed_at": each.at if each.seen else None,
            "model_label": each.cell.model_label,
            "confidence": each.cell.confidence,
            "flag": each.cell.flag,
        }
        for each in review.answers(reading, actor)
    ]
    return json_bytes({"report": report(review, reading, actor), "cells": cells})


def _set(review: Review, reading: int, actor: Actor) -> Path:
    return labelled.write_set(review, reading, _confirmed(review.answers(reading, actor)))


def safe(name: str) -> str:
    """Return a name of ASCII letters, digits, - and _ for a file."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
    return kept.strip("-")[:60] or "review"


#: Format → media type, and what makes it. ``html`` is a page: naturalize.review.pages.printed.
FORMATS: dict[str, tuple[str, Callable[..., bytes | Path]]] = {
    "csv": ("text/csv; charset=utf-8", table),
    "json": ("application/json", _json),
    "pdf": ("application/pdf", lambda *of: pdf.pages(report(*of))),
    "fhir": ("application/fhir+json", lambda *of, **more: json_bytes(bundle(report(*of), **more))),
    "dataset.zip": ("application/zip", _set),
    "comparison.json": ("application/json", lambda *of: json_bytes(compared(*of))),
}
