"""The routes of masks: that of a photo, its cut-out, and masks that people have drawn.

Owns who may read them: callers that may read an ad with the photo.
"""

import asyncio
import logging
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from gateway.edge.auth import Feedback, Read
from gateway.edge.etags import unchanged
from gateway.masks.cutouts import CutOuts
from gateway.masks.drawn import store_mask
from gateway.masks.found import FoundPhoto, find_photo
from gateway.problems import Problem
from gateway.schemas.ads import Sha256
from gateway.schemas.parameters import text_in
from gateway.schemas.segments import MaskOut, SegmentsOut
from gateway.services import Services, ServicesDep
from gateway.uploads import body_chunks
from ops.errors import StoredObjectError
from ops.events.feedback import MAX_GIVEN_BY_CHARS
from ops.masks.cutout import CutOutFormat, cut_out
from ops.masks.uploaded import UnusableMask, read_mask

router = APIRouter()
log = logging.getLogger(__name__)

MAX_MASK_BYTES = 8 * 2**20
VERSION = 1
"""Of how photos are cut out: part of the ETag."""

_REVALIDATED = {"Cache-Control": "private, no-cache"}  # another release may have another mask
_IMAGE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Content-Disposition": "inline",
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"description": "The photo does not exist, or the live release has no mask of it."},
    304: {"description": "Not modified since the response with this ETag."},
}


@router.get(
    "/v1/photos/{sha256}/segments",
    tags=["read"],
    summary="Get the goods in a photo",
    description="Returns the mask of the goods under the live release, and the separate things in "
    "it. Sessions find it within seconds of the photo's first ad.",
    response_model=SegmentsOut,
    responses=_NOT_FOUND,
)
async def segments(
    caller: Read, services: ServicesDep, request: Request, sha256: Sha256
) -> Response:
    """Return the goods in a photo."""
    photo = await find_photo(services, caller, sha256)
    answer = photo.require_answer()
    headers = {**_REVALIDATED, "ETag": _etag(photo, "segments")}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return JSONResponse(answer, headers=headers)


@router.get(
    "/v1/photos/{sha256}/cutout",
    tags=["read"],
    summary="Get the goods cut out of a photo",
    description="Returns the photo with a transparent background. It is made on request from the "
    "stored photo and the live release's mask.",
    response_class=Response,
    responses={
        **_NOT_FOUND,
        200: {"description": "The cut-out.", "content": {"image/webp": {}, "image/png": {}}},
    },
)
async def cutout(
    caller: Read,
    services: ServicesDep,
    request: Request,
    sha256: Sha256,
    image_format: Annotated[CutOutFormat, Query(alias="format")] = "webp",
    trimmed: Annotated[
        Literal["", "1", "true"] | None,
        Query(description="Crop it to the goods, with a small margin."),
    ] = None,
) -> Response:
    """Return the goods cut out of a photo."""
    photo = await find_photo(services, caller, sha256)
    if not photo.require_answer()["things"]:
        raise Problem(404, "no_goods", f"no goods were found in the photo {sha256}")
    what = f"{image_format} {trimmed is not None} {VERSION}"
    headers = {**_REVALIDATED, **_IMAGE, "ETag": _etag(photo, what)}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    cut_outs: CutOuts = request.app.state.cut_outs
    make = partial(_cut_out, services, photo, image_format, trimmed is not None)
    try:
        data = await cut_outs.get(headers["ETag"], make)
    except (StoredObjectError, OSError) as error:
        log.error("a stored photo is missing or corrupt: %s", error)
        raise Problem(
            404, "photo_lost", f"the stored photo {sha256} is missing or corrupt; send its ad again"
        ) from error
    return Response(data, media_type=f"image/{image_format}", headers=headers)


@router.put(
    "/v1/photos/{sha256}/mask",
    tags=["feedback"],
    summary="Give the mask of a photo",
    description="Stores which pixels of a photo are goods, by a person. The body is a PNG with the "
    "photo's proportions, white inside and black outside; or a cut-out, transparent outside. It "
    "replaces an earlier one. The gate judges releases by these masks.",
    response_model=MaskOut,
    responses={404: {"description": "The photo does not exist."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def give_mask(
    request: Request,
    services: ServicesDep,
    caller: Feedback,
    sha256: Sha256,
    given_by: Annotated[
        Annotated[str, *text_in("given_by", MAX_GIVEN_BY_CHARS)] | None,
        Query(description="Who drew it, by your own name for them; by default the key's name."),
    ] = None,
) -> JSONResponse:
    """Store the mask of a photo; sent again, it changes nothing."""
    photo = await find_photo(services, caller, sha256)
    data = await _body(request)
    try:
        mask = await asyncio.to_thread(read_mask, data, width=photo.width, height=photo.height)
    except UnusableMask as error:
        raise Problem(422, "not_a_mask", error.detail, reason=error.code) from error
    name = caller.name if given_by is None else given_by
    given_at = await store_mask(services.database, sha256, mask, given_by=name)
    return JSONResponse(
        {
            "sha256": sha256,
            **mask.as_coco(),
            "area": round(mask.area / mask.pixels, 6),
            "given_by": name,
            "given_at": given_at.isoformat(),
        }
    )


def _etag(photo: FoundPhoto, what: str) -> str:
    answer = photo.require_answer()
    parts = (photo.rendition_sha256.hex(), answer["release"], answer["counts"], what)
    return f'"{blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def _cut_out(
    services: Services, photo: FoundPhoto, image_format: CutOutFormat, trimmed: bool
) -> bytes:
    rendition = services.store.get("renditions", photo.rendition_sha256)
    return cut_out(rendition, photo.mask, image_format=image_format, trimmed=trimmed)


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for chunk in body_chunks(request):
        data += chunk
        if len(data) > MAX_MASK_BYTES:
            raise Problem(
                413,
                "photo_too_large",
                f"a mask has at most {MAX_MASK_BYTES} bytes",
                allowed=MAX_MASK_BYTES,
            )
    return bytes(data)
