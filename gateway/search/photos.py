"""The vector of a photo that no ad has: an indexer embeds it, since the gateway knows no model.

Owns the request in the table `photo_searches`, and how long it is waited for.
"""

import asyncio
import time
from typing import Any, NamedTuple

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.problems import RETRY_AFTER_S, Problem
from resources.vector_search import photo_requests

WITHIN_S = 12.0
"""The first photo waits until the model is loaded: five seconds or more."""

_POLLS_S = (0.02, 0.02, 0.03, 0.05, 0.1)  # the last one again and again

_UPLOADED = "SELECT FROM lalafo.uploads WHERE sha256 = %s AND uploaded_by = %s"


class PhotoVector(NamedTuple):
    """What a search by a photo compares with."""

    vector: str  # as pgvector's text
    backbone: str
    sha256: bytes


async def photo_vector(
    database: GatewayDatabase, *, url: str | None = None, sha256: bytes | None = None
) -> PhotoVector:
    """Wait until the photo at a URL, or an uploaded one, is embedded.

    Raises:
        Problem: 422, it is not usable, and why; 409, no indexer answered in time.
        RetryableError: PostgreSQL is unavailable.
    """
    known = None if sha256 is None else await _known(database, sha256)
    if known is not None:
        return known
    asked = await _ask(database, url, sha256)
    deadline = time.monotonic() + WITHIN_S
    polls = list(_POLLS_S)
    while time.monotonic() < deadline:
        await asyncio.sleep(polls.pop(0) if len(polls) > 1 else polls[0])
        row = await _read(database, asked)
        if row is None:
            continue
        vector, backbone, digest, reason, detail = row
        if vector is None:
            raise Problem(
                422,
                "photo_not_usable",
                f"the photo can't be searched by: {reason}, {detail}",
                reason=reason,
            )
        return PhotoVector(vector, backbone, bytes(digest))
    raise Problem(
        409,
        "no_indexer",
        f"no indexer embedded the photo within {WITHIN_S:.0f} s: with LALAFO_SIMILAR_ADS=true one "
        "runs, and loads its model for the first photo",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


@repeated_once(repeatable=True)
async def is_own_upload(database: GatewayDatabase, sha256: bytes, key_id: str) -> bool:
    """Whether this key has uploaded the photo."""
    async with database.connection() as connection:
        cursor = await connection.execute(_UPLOADED, (sha256, key_id))
        return await cursor.fetchone() is not None


@repeated_once(repeatable=True)
async def _known(database: GatewayDatabase, sha256: bytes) -> PhotoVector | None:
    async with database.connection() as connection:
        row = await (await connection.execute(photo_requests.KNOWN, (sha256,))).fetchone()
        return None if row is None else PhotoVector(*row)


@repeated_once(repeatable=True)
async def _ask(database: GatewayDatabase, url: str | None, sha256: bytes | None) -> int:
    async with database.connection() as connection, connection.transaction():
        row = await (await connection.execute(photo_requests.ASK, (url, sha256))).fetchone()
        assert row is not None
        await connection.execute(f"NOTIFY {photo_requests.CHANNEL}")
        return int(row[0])


@repeated_once(repeatable=True)
async def _read(database: GatewayDatabase, asked: int) -> tuple[Any, ...] | None:
    async with database.connection() as connection:
        return await (await connection.execute(photo_requests.ANSWERED, (asked,))).fetchone()
