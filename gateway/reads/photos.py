"""The photo route: stored photos, for callers that may read an ad with the photo.

Owns who may read a photo, and how long it may be cached: a photo never changes, since it is named
by the hash of its bytes. An upload that no session has processed is not returned, because it is not
checked yet.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Caller, Read
from gateway.edge.etags import unchanged
from gateway.problems import Problem
from gateway.schemas.ads import Sha256
from gateway.services import Services, ServicesDep
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
# An upload that no session has processed has no row in `photos`; a photo that no ad has any more
# has no row in `ad_photos`.
_FIND = """
    SELECT p.rendition_sha256, p.thumbnail_sha256 FROM lalafo.photos AS p
    WHERE p.sha256 = %(sha256)s::bytea AND EXISTS (
        SELECT FROM lalafo.ad_photos AS a WHERE a.sha256 = %(sha256)s::bytea
        AND (%(catalogs)s::text[] IS NULL OR a.catalog = ANY(%(catalogs)s::text[]))
    )
"""


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """The key of a photo in the store."""

    kind: Kind
    sha256: bytes


@router.get(
    "/v1/photos/{sha256}",
    summary="Get a photo",
    description="Returns the photo as it was stored and scored: an upright JPEG without metadata, "
    "with a longest side of at most 640 pixels. `sha256` is the SHA-256 of the original photo's "
    "bytes, as in ads.",
    response_class=Response,
    responses={
        404: {"description": "The photo does not exist, or the stored file is lost."},
        200: {"description": "The photo.", "content": {"image/jpeg": {}}},
        304: {"description": "Not modified. Photos never change."},
    },
)
async def photo(
    caller: Read,
    services: ServicesDep,
    request: Request,
    sha256: Sha256,
    thumbnail: Annotated[
        Literal["", "1", "true"] | None,
        Query(
            description="Return the thumbnail. While there is none, the photo itself is returned."
        ),
    ] = None,
) -> Response:
    """Return a photo's bytes."""
    stored = await _find(services, caller, bytes.fromhex(sha256), small=thumbnail is not None)
    if stored is None:
        raise Problem(404, "no_such_photo", f"no ad that this key may read has the photo {sha256}")
    headers = {**_HEADERS, "ETag": f'"{stored.sha256.hex()}"'}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        data = await asyncio.to_thread(services.store.get, stored.kind, stored.sha256)
    except StoredObjectError as error:
        log.error("a stored photo is missing or corrupt: %s", error)
        raise Problem(
            404, "photo_lost", f"the stored photo {sha256} is missing or corrupt; send its ad again"
        ) from error
    return Response(data, media_type="image/jpeg", headers=headers)


@repeated_once(repeatable=True)
async def _find(
    services: Services, caller: Caller, sha256: bytes, *, small: bool
) -> StoredPhoto | None:
    values = {
        "sha256": sha256,
        "catalogs": None if caller.catalogs is None else sorted(caller.catalogs),
    }
    async with services.database.connection() as connection:
        cursor = await connection.execute(_FIND, values, prepare=True)
        row = await cursor.fetchone()
    if row is None:
        return None
    rendition, thumbnail = row
    if small and thumbnail is not None:
        return StoredPhoto("thumbnails", thumbnail)
    return StoredPhoto("renditions", rendition)
