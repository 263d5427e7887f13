"""Uploaded photos: written to a temporary file while they are received, then to the photo store.

A photo is never completely in memory, and its format is detected by its first bytes. The temporary
file has no name, so it disappears in any case. In the store a photo is named by its SHA-256.
Photos are not decoded here: sessions decide whether a photo can be used.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from tempfile import TemporaryFile
from typing import BinaryIO

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.backends.connections import repeated_once
from gateway.problems import Problem
from gateway.services import Services
from ops.photos.formats import ALLOWED, SNIFFED_BYTES, format_name, sniff
from resources.settings import Settings

CHUNK_WITHIN_S = 30.0
"""A body that sends nothing for longer is aborted: it uses a file and a concurrent request."""

WRITE_BYTES = 2**18

PHOTO_TYPES = tuple(
    f"image/{kind}" for kind in ("jpeg", "png", "webp", "gif", "avif", "heic", "bmp", "tiff")
)


class Upload:
    """A photo that is being received. Call `close` at the end.

    Args:
        name: the photo's name in error messages.
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
        """Add received bytes.

        Raises:
            Problem: the photo is too large, or its format is not supported.
        """
        self.size += len(data)
        if self.size > self._max:
            raise Problem(
                413,
                "photo_too_large",
                f"{self.name} has more than the {self._max} bytes that a photo may have",
                allowed=self._max,
            )
        self._pending += data
        if not self._sniffed and len(self._pending) >= SNIFFED_BYTES:
            self._sniff()
        if len(self._pending) >= WRITE_BYTES:
            await self._write()

    async def finish(self) -> None:
        """Write the remaining bytes.

        Raises:
            Problem: the photo is empty, or its format is not supported.
        """
        if self.size == 0:
            raise Problem(422, "photo_empty", f"{self.name} has no bytes; expected a photo")
        if not self._sniffed:
            self._sniff()
        await self._write()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes that were written."""
        return self._sha256.digest()

    def close(self) -> None:
        """Close the temporary file, which deletes it."""
        self.file.close()

    def _sniff(self) -> None:
        head = bytes(self._pending[:SNIFFED_BYTES])
        if sniff(head) is None:
            raise Problem(
                415,
                "not_a_photo",
                f"{self.name} is {format_name(head)}, by its first bytes; expected {ALLOWED}",
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


async def body_chunks(request: Request) -> AsyncIterator[bytes]:
    """Iterate over the chunks of the request's body.

    Raises:
        Problem: the client disconnected, or sent nothing for CHUNK_WITHIN_S.
    """
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(CHUNK_WITHIN_S):
                chunk = await anext(stream, None)
        except ClientDisconnect as error:
            raise Problem(
                400, "cut_short", "the client disconnected before the body's end"
            ) from error
        except TimeoutError as error:
            raise Problem(
                408,
                "too_slow",
                f"no data was received for {CHUNK_WITHIN_S:.0f} s; nothing was changed",
            ) from error
        if chunk is None:
            return
        if chunk:
            yield chunk


@asynccontextmanager
async def receive_photo(request: Request, settings: Settings) -> AsyncIterator[Upload]:
    """Receive a body that is a photo; its file is deleted at the end of the `with`."""
    upload = Upload("the body", settings.max_photo_bytes)
    try:
        async for chunk in body_chunks(request):
            await upload.add(chunk)
        await upload.finish()
        yield upload
    finally:
        upload.close()


async def store_uploads(services: Services, uploads: Sequence[Upload]) -> None:
    """Write the photos to the store; they are on disk when this returns.

    Raises:
        RetryableError: the store is unavailable or full. Some photos may be stored; writing them
            again is harmless.
    """
    unique = {upload.digest: upload for upload in uploads}
    writes = [
        asyncio.to_thread(services.store.put_file, "uploads", digest, upload.file)
        for digest, upload in unique.items()
    ]
    results = await asyncio.gather(*writes, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


PHOTO_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in PHOTO_TYPES
        },
    }
}
"""What OpenAPI says of a request whose body is a photo."""


@repeated_once(repeatable=True)
async def record_upload(services: Services, upload: Upload, by: str) -> None:
    """Record a stored photo under the key that sent it; upkeep deletes it after its time."""
    async with services.database.connection() as connection:
        await connection.execute(
            "INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by) VALUES (%s, %s, %s) "
            "ON CONFLICT (sha256) DO UPDATE SET uploaded_at = now()",
            (upload.digest, upload.size, by),
        )
