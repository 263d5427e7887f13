"""The route of the live release: its name, and the labels that it can predict in each task.

People who correct an ad choose among these labels. The answer changes with a promotion only.
"""

from typing import Any

import psycopg
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.edge.auth import Read
from gateway.schemas.releases import LiveReleaseOut
from gateway.services import ServicesDep

router = APIRouter(tags=["read"])

LIVE = """
    SELECT r.name, r.created_at, r.manifest -> 'taxonomy'
    FROM lalafo.active_releases AS a JOIN lalafo.releases AS r ON r.name = a.live
"""


@router.get(
    "/v1/releases/live",
    summary="Get the live release",
    description="Returns the name of the live release, and the labels that it can predict by task. "
    "While no release is live, `release` is null and nothing is scored.",
    response_model=LiveReleaseOut,
)
async def live_release(caller: Read, services: ServicesDep) -> JSONResponse:
    """Return the live release."""
    row = await _read(services.database)
    name, created_at, taxonomy = (None, None, {}) if row is None else row
    return JSONResponse(
        {
            "release": name,
            "created_at": None if created_at is None else created_at.isoformat(),
            "tasks": {task: {"labels": sorted(taxonomy[task])} for task in sorted(taxonomy or {})},
        },
        headers={"Cache-Control": "private, no-cache"},
    )


@repeated_once(repeatable=True)
async def _read(database: GatewayDatabase) -> tuple[Any, ...] | None:
    async with database.connection() as connection:
        return await _first(connection)


async def _first(connection: psycopg.AsyncConnection) -> tuple[Any, ...] | None:
    cursor = await connection.execute(LIVE, prepare=True)
    return await cursor.fetchone()
