"""Photos as callers send them: bytes go to a temporary file as they come, and from there into the
store under their SHA-256.

Decides that no photo is ever held whole in memory, that its first bytes say what it is, and that a
file of this machine has no name while it is written: whatever happens, nothing is left behind.
Refuses to decode: whether a photo can be used is the sessions' to say.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from tempfile import TemporaryFile
from typing import BinaryIO

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from gateway.edge.auth import Ingest
from gateway.problems import Problem
from gateway.schemas.ads import UploadOut
from gateway.services import Services, TheServices
from ops.photos.formats import sniff
from resources.settings import Settings

CHUNK_WITHIN_S = 30.0
"""A body whose next bytes take longer is given up: it holds a file and a place."""

WRITE_BYTES = 2**18
_SNIFFED_BYTES = 32
_KNOWN = (
    (b"%PDF", "a PDF"),
    (b"<svg", "an SVG"),
    (b"<", "HTML, XML or SVG"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
    (b"{", "JSON"),
)

router = APIRouter(tags=["photos"])


class Upload:
    """One photo on its way in; close it.

    Args:
        name: what the caller calls it, for errors.
    """

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name = name
        self.size = 0
        self.file: BinaryIO = TemporaryFile(buffering=0)  # noqa: SIM115 - `close` closes it
        self._max = max_bytes
        self._sha256 = sha256()
        self._pending = bytearray()
        self._sniffed = False

    async def add(self, data: bytes) -> None:
        """Take its next bytes; Problem where it is no photo, or too large."""
        self.size += len(data)
        if self.size > self._max:
            raise Problem(
                413,
                "photo_too_large",
                f"{self.name} has more than the {self._max} bytes that a photo may have",
                allowed=self._max,
            )
        self._pending += data
        if not self._sniffed and len(self._pending) >= _SNIFFED_BYTES:
            self._sniff()
        if len(self._pending) >= WRITE_BYTES:
            await self._write()

    async def finish(self) -> None:
        """Write the rest; Problem where nothing came, or no photo."""
        if self.size == 0:
            raise Problem(422, "photo_empty", f"{self.name} has no bytes; a photo is expected")
        if not self._sniffed:
            self._sniff()
        await self._write()

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was written."""
        return self._sha256.digest()

    def close(self) -> None:
        """The file has no name: it is gone."""
        self.file.close()

    def _sniff(self) -> None:
        head = bytes(self._pending[:_SNIFFED_BYTES])
        if sniff(head) is None:
            came = next((name for magic, name in _KNOWN if head.startswith(magic)), None)
            if came is None:
                came = "HEIC, or a video" if head[4:8] == b"ftyp" else "an unknown format"
            raise Problem(
                415,
                "not_a_photo",
                f"{self.name} is {came}, by its first bytes; JPEG, PNG, WebP, GIF or AVIF is "
                "expected",
                part=self.name,
            )
        self._sniffed = True

    async def _write(self) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        await asyncio.to_thread(self._write_now, data)

    def _write_now(self, data: bytes) -> None:
        self._sha256.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The request's body as it comes; Problem where the caller went away or stalls."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(CHUNK_WITHIN_S):
                chunk = await anext(stream, None)
        except ClientDisconnect as error:
            raise Problem(400, "cut_short", "the body ended before its end") from error
        except TimeoutError as error:
            raise Problem(
                408, "too_slow", f"nothing came for {CHUNK_WITHIN_S:.0f} s; nothing was changed"
            ) from error
        if chunk is None:
            return
        if chunk:
            yield chunk


@asynccontextmanager
async def received_photo(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    """A body that is one photo's bytes, until the end of the `with`."""
    upload = Upload("the body", settings.max_photo_bytes)
    try:
        async for chunk in body_of(request):
            await upload.add(chunk)
        await upload.finish()
        yield upload
    finally:
        upload.close()


async def store_uploads(services: Services, uploads: Sequence[Upload]) -> None:
    """Put them into the store: on disk when this returns.

    Raises:
        RetryableError: the store is away or full; some may be there, and are put again at no cost.
    """
    one_each = {upload.digest: upload for upload in uploads}
    put = [
        asyncio.to_thread(services.store.put_file, "uploads", digest, upload.file)
        for digest, upload in one_each.items()
    ]
    answers = await asyncio.gather(*put, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer


_PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in ("image/jpeg", "image/png", "image/webp", "image/gif", "image/avif")
        },
    }
}


@router.post(
    "/v1/photos",
    summary="Send a photo, to be named by its SHA-256 in an ad",
    status_code=201,
    response_model=UploadOut,
    openapi_extra=_PHOTO_BODY,
    responses={408: {"description": "The body stalled."}},
)
async def post_photo(request: Request, services: TheServices, caller: Ingest) -> JSONResponse:
    """The body is the photo's bytes; its first bytes say its format, whatever the headers do."""
    async with received_photo(request, services.settings) as upload:
        await store_uploads(services, [upload])
    async with services.database.connection() as connection:
        await connection.execute(
            "INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by) VALUES (%s, %s, %s) "
            "ON CONFLICT (sha256) DO UPDATE SET uploaded_at = now()",
            (upload.digest, upload.size, caller.key_id),
        )
    return JSONResponse(
        {"sha256": upload.digest.hex(), "bytes": upload.size},
        status_code=201,
    )
