"""What a reading comes to: the differential, files to take away, model against person."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS
from naturalize.review.api.room import Access, Asking, Changing, Room, RoomNeeded
from naturalize.review.pages import printed
from naturalize.review.service.deliver import differential, exports

router = APIRouter(tags=["exports"])

Format = Annotated[
    Literal["csv", "json", "html", "pdf", "fhir", "dataset.zip", "comparison.json"], Path()
]


Plot = Annotated[Literal["passing-bablok", "bland-altman"], Path()]


@router.get("/differential", responses=REFUSALS)
def get_differential(
    room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1
) -> dict[str, Any]:
    """Return counts and shares of a reading with their intervals, and the flags that it raises."""
    return differential.answer(room.review, reading, access.actor)


@router.get("/exports/{format}", responses=REFUSALS, response_class=Response)
def export(
    format: Format, room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1
) -> Response:
    """Return a reading as a file: a table, a report, FHIR, a data set, or a comparison."""
    if format == "html":
        data = printed.html(exports.report(room.review, reading, access.actor))
        name = f"{exports.safe(room.review.settings.name)}-{reading}.html"
        found = exports.Export(data, "text/html; charset=utf-8", name)
    else:
        found = exports.export(room.review, reading, format, access.actor)
    return _sent(room, access, format, reading, found)


@router.post("/exports/fhir", responses=REFUSALS, response_class=Response)
def export_fhir(form: m.FhirExport, room: RoomNeeded, access: Changing) -> Response:
    """Return a reading as FHIR that names a patient or a specimen; the server keeps neither."""
    named = {"patient": form.patient, "specimen": form.specimen}
    found = exports.export(room.review, form.reading, "fhir", access.actor, **named)
    return _sent(room, access, "fhir", form.reading, found)


def _sent(room: Room, access: Access, format: str, reading: int, found: exports.Export) -> Response:
    room.review.note(access.actor.name, "export", format, reading)
    headers = {"Cache-Control": "no-store"}
    if isinstance(found.data, bytes):
        headers["Content-Disposition"] = f'attachment; filename="{found.name}"'
        return Response(found.data, media_type=found.media_type, headers=headers)
    return FileResponse(
        found.data,
        media_type=found.media_type,
        filename=found.name,
        headers=headers,
        background=BackgroundTask(found.data.unlink, missing_ok=True),
    )


@router.get("/comparison", responses=REFUSALS)
def get_comparison(room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1) -> dict[str, Any]:
    """Return the model's answers against the person's: agreement, and shares sample by sample."""
    return room.comparisons.of(reading, access.actor)


@router.get(
    "/comparison/{code:path}/{kind}",
    responses={**REFUSALS, 200: {"description": "a plot", "content": {"image/svg+xml": {}}}},
    response_class=Response,
)
def get_comparison_plot(
    code: m.CodeInPath, kind: Plot, room: RoomNeeded, access: Asking, reading: m.ReadingQuery = 1
) -> Response:
    """Return a plot of the model's shares of a class against the person's, sample by sample."""
    compared = room.comparisons.of(reading, access.actor)
    svg = printed.comparison_plot(compared, code, kind)
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})
