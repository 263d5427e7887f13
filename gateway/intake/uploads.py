"""The route that stores a photo, which ads can then name by its SHA-256."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.edge.auth import Ingest
from gateway.schemas.ads import UploadOut
from gateway.services import ServicesDep
from gateway.uploads import PHOTO_BODY, receive_photo, record_upload, store_uploads

router = APIRouter(tags=["photos"])


@router.post(
    "/v1/photos",
    summary="Upload a photo",
    status_code=201,
    response_model=UploadOut,
    openapi_extra=PHOTO_BODY,
    responses={408: {"description": "No data was received for 30 s."}},
)
async def post_photo(request: Request, services: ServicesDep, caller: Ingest) -> JSONResponse:
    """Stores a photo, which ads can then name by its SHA-256. The body is the photo's bytes; the
    format is detected by its first bytes, not by `Content-Type`.
    """
    async with receive_photo(request, services.settings) as upload:
        await store_uploads(services, [upload])
    await record_upload(services, upload, caller.key_id)
    return JSONResponse(
        {"sha256": upload.digest.hex(), "bytes": upload.size},
        status_code=201,
    )
