"""Pictures of cells, of their surroundings, and of reference cells."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS
from naturalize.review.api.room import Asking, RoomNeeded
from naturalize.review.service.errors import NoSuchError

router = APIRouter(tags=["pictures"])


def _picture(request: Request, data: bytes) -> Response:
    """Return a picture; a browser that has it already gets its name only."""
    kind = "image/webp" if data[8:12] == b"WEBP" else "image/png"
    kind = "image/jpeg" if data[:2] == b"\xff\xd8" else kind
    name = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers = {"ETag": name, "Cache-Control": "private, max-age=3600"}
    if request.headers.get("if-none-match") == name:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


#: What the schema says of an answer that is a picture.
_PICTURE = {
    **REFUSALS,
    200: {
        "description": "a picture",
        "content": {kind: {} for kind in ("image/webp", "image/png", "image/jpeg")},
    },
}


@router.get("/cells/{cell}/thumbnail", responses=_PICTURE, response_class=Response)
def get_thumbnail(cell: m.CellId, request: Request, room: RoomNeeded, _: Asking) -> Response:
    """Return a cell at the one scale of all thumbnails."""
    return _picture(request, room.pictures.thumbnail(cell))


@router.get("/cells/{cell}/full", responses=_PICTURE, response_class=Response)
def get_full(cell: m.CellId, request: Request, room: RoomNeeded, _: Asking) -> Response:
    """Return a cell in all its pixels."""
    return _picture(request, room.pictures.full(cell))


@router.get("/cells/{cell}/around", responses=_PICTURE, response_class=Response)
def get_around(cell: m.CellId, request: Request, room: RoomNeeded, _: Asking) -> Response:
    """Return the field around a cell, with its box."""
    return _picture(request, room.pictures.around(cell))


@router.get("/cells/{cell}/heat", responses=_PICTURE, response_class=Response)
def get_heat(
    cell: m.CellId,
    request: Request,
    room: RoomNeeded,
    _: Asking,
    label: Annotated[m.Code | None, Query()] = None,
) -> Response:
    """Return where the model looked, for its own class or another."""
    if label is not None and label not in room.review.settings.classes:
        raise NoSuchError(f"no class {label!r} of the model")
    return _picture(request, room.pictures.heat(cell, label))


@router.get("/cells/{cell}/nearest", responses=REFUSALS)
def get_nearest(cell: m.CellId, room: RoomNeeded, _: Asking) -> m.NearestAnswer:
    """List the reference cells that are most like a cell."""
    return m.NearestAnswer(
        cells=[
            m.Nearest(
                label=reference.label,
                similarity=round(float(similarity), 4),
                url=f"/api/v1/references/{reference.id}",
            )
            for reference, similarity in room.pictures.nearest(cell)
        ]
    )


@router.get("/atlas/{label:path}", responses=REFUSALS)
def get_atlas(label: m.CodeInPath, room: RoomNeeded, _: Asking) -> m.NearestAnswer:
    """List typical reference cells of a class."""
    if label not in room.review.settings.bins:
        raise NoSuchError(f"no class {label!r}")
    return m.NearestAnswer(
        cells=[
            m.Nearest(
                label=reference.label, similarity=1.0, url=f"/api/v1/references/{reference.id}"
            )
            for reference in room.pictures.atlas(label)
        ]
    )


@router.get("/references/{reference}", responses=_PICTURE, response_class=Response)
def get_reference(reference: m.CellId, request: Request, room: RoomNeeded, _: Asking) -> Response:
    """Return a reference cell, at the scale of the thumbnails."""
    return _picture(request, room.pictures.reference(reference))
