"""Photos as they are stored: what the model has seen, for whoever may see an ad that shows it.

Decides who gets a photo and for how long it may be kept. A photo never changes: its name is of its
bytes. What a caller sent and no session has read yet is not given out: nobody has checked it.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from gateway.edge.auth import Caller, Read
from gateway.edge.etags import unchanged
from gateway.problems import Problem
from gateway.schemas.ads import Sha256
from gateway.services import Services, TheServices
from ops.errors import StoredObjectError
from resources.storage.photos import Kind

router = APIRouter(tags=["read"])
log = logging.getLogger(__name__)

_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
}
# An upload that the stream has not reached has no row in `photos`, one that no ad shows any more
# none in `ad_photos`.
_FIND = """
    SELECT p.rendition_sha256, p.thumbnail_sha256 FROM lalafo.photos AS p
    WHERE p.sha256 = %(sha256)s::bytea AND EXISTS (
        SELECT FROM lalafo.ad_photos AS a WHERE a.sha256 = %(sha256)s::bytea
        AND (%(catalogs)s::text[] IS NULL OR a.catalog = ANY(%(catalogs)s::text[]))
    )
"""


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """Where a photo's bytes are."""

    kind: Kind
    sha256: bytes


@router.get(
    "/v1/photos/{sha256}",
    summary="A photo",
    description="As it was stored and scored: an upright JPEG without metadata, its longest side "
    "640 pixels at most. Named by the SHA-256 of the photo's own bytes, as ads name it.",
    response_class=Response,
    responses={
        404: {"description": "No such photo, or it is lost."},
        200: {"description": "The photo.", "content": {"image/jpeg": {}}},
        304: {"description": "You have it: photos never change."},
    },
)
async def photo(
    caller: Read,
    services: TheServices,
    request: Request,
    sha256: Sha256,
    thumbnail: Annotated[
        Literal["", "1", "true"] | None,
        Query(description="The thumbnail, or the photo itself until there is one."),
    ] = None,
) -> Response:
    """A photo's bytes."""
    stored = await _find(services, caller, bytes.fromhex(sha256), small=thumbnail is not None)
    if stored is None:
        raise Problem(404, "no_such_photo", f"no ad that this key may see shows a photo {sha256}")
    headers = {**_HEADERS, "ETag": f'"{stored.sha256.hex()}"'}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        data = await asyncio.to_thread(services.store.get, stored.kind, stored.sha256)
    except StoredObjectError as error:
        log.error("a photo is lost: %s", error)
        raise Problem(
            404, "photo_lost", f"the stored photo {sha256} is missing or damaged; send its ad again"
        ) from error
    return Response(data, media_type="image/jpeg", headers=headers)


async def _find(
    services: Services, caller: Caller, sha256: bytes, *, small: bool
) -> StoredPhoto | None:
    given = {
        "sha256": sha256,
        "catalogs": None if caller.catalogs is None else sorted(caller.catalogs),
    }
    async with services.database.connection() as connection:
        cursor = await connection.execute(_FIND, given, prepare=True)
        row = await cursor.fetchone()
    if row is None:
        return None
    rendition, tiny = row
    if small and tiny is not None:
        return StoredPhoto("thumbnails", tiny)
    return StoredPhoto("renditions", rendition)
