"""Images, whole fields and ZIPs of them that are put in."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request

from naturalize.review.api import models as m
from naturalize.review.api.errors import REFUSALS
from naturalize.review.api.room import Asking, Changing, RoomNeeded
from naturalize.review.service.errors import NoSuchError
from naturalize.review.service.roles import check

router = APIRouter(tags=["uploads"])

#: The body of an upload in the schema; it is read piece by piece, not by the framework.
_FILES = {
    "type": "object",
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    },
    "required": ["files"],
}


def _listed(refused: list[tuple[str, str]]) -> list[m.Refusal]:
    return [m.Refusal(name=name, reason=reason) for name, reason in refused]


@router.post(
    "/uploads",
    status_code=202,
    responses=REFUSALS,
    openapi_extra={
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FILES}}}
    },
)
async def upload(request: Request, room: RoomNeeded, access: Changing) -> m.UploadStarted:
    """Put in images, whole fields or ZIPs of them; they are classified in the background."""
    check(access.actor, "upload")
    content_type = request.headers.get("content-type", "")
    who = access.actor.name
    name, taken = await room.uploads.take(who, content_type, request.stream())
    said = f"{name}: {taken.total} files"
    await to_thread.run_sync(room.review.note, who, "upload", said)
    return m.UploadStarted(upload=name, files=taken.total, refused=_listed(taken.refused))


@router.get("/uploads/{upload}", responses=REFUSALS)
def get_upload(
    upload: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")], room: RoomNeeded, _: Asking
) -> m.UploadAnswer:
    """Return how far an upload is."""
    found = room.uploads.get(upload)
    if found is None:
        raise NoSuchError(f"no upload {upload}")
    return m.UploadAnswer(
        state=found.state,
        done=found.done,
        total=found.total,
        cells=found.cells,
        refused=_listed(found.refused),
        message=found.message,
    )
