"""The route of the pictures in Dagster's metadata, so that its UI can show them.

Owns who may see them: the pictures show ads of every catalog, so a key for some is refused. They
may be embedded in a page of another origin, which is what Dagster's UI is.
"""

import asyncio
import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from gateway.edge.auth import Read
from gateway.edge.etags import unchanged
from gateway.problems import Problem, unavailable
from gateway.services import ServicesDep
from ops.errors import RetryableError, StoredObjectError
from resources.storage.report_pictures import NAME_PATTERN, OF_PATTERN, ReportPictures

router = APIRouter(tags=["read"])

_HEADERS = {
    "Cache-Control": "private, no-cache",  # a running session replaces its pictures
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@router.get("/v1/reports/{of}/{name}", include_in_schema=False)  # only Dagster knows the names
async def report_picture(
    caller: Read,
    services: ServicesDep,
    request: Request,
    of: Annotated[str, Path(pattern=OF_PATTERN, description="A run, release or training set.")],
    name: Annotated[str, Path(pattern=NAME_PATTERN, description="The picture's name.")],
) -> Response:
    """Return a picture's bytes."""
    if caller.catalogs is not None:
        raise Problem(
            403, "other_catalog", "pictures show every catalog, and this key is for some only"
        )
    pictures = ReportPictures(services.settings.resolved_store_url)
    try:
        image = await asyncio.to_thread(pictures.get, of, name)
    except StoredObjectError as error:
        raise Problem(404, "no_such_picture", str(error)) from error
    except RetryableError as error:
        raise unavailable("the store") from error
    headers = {**_HEADERS, "ETag": f'"{hashlib.sha256(image).hexdigest()[:32]}"'}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    kind = "image/jpeg" if name.endswith(".jpg") else "image/png"
    return Response(image, media_type=kind, headers=headers)
