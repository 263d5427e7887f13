"""Probes: whether the process lives, and whether it can do its work.

Decides what "ready" needs: PostgreSQL, with the tables that this code was written for. Kafka may be
away, since accepted events wait in the outbox, unless `require_broker` says otherwise. Answers name
no server.
"""

import logging
from typing import Any

import psycopg
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.services import Services, TheServices
from ops.errors import RetryableError

EXPECTED_REVISION = "0005"  # of the migrations; a test compares it with their head

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> JSONResponse:
    """The process answers."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz")
async def readyz(services: TheServices) -> JSONResponse:
    """200 where requests will be answered, else 503; each check says what it found."""
    checks = {"postgresql": await _postgresql(services), "broker": _broker(services)}
    ready = all(check["ok"] or not check["required"] for check in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not ready", "checks": checks},
        status_code=200 if ready else 503,
        headers={"Cache-Control": "no-store"},
    )


async def _postgresql(services: Services) -> dict[str, Any]:
    try:
        async with services.database.connection() as connection:
            rows = await connection.execute("SELECT version_num FROM lalafo.alembic_version")
            row = await rows.fetchone()
    except RetryableError as error:
        log.warning("not ready: %s", error)
        return _check(False, "does not answer")
    except psycopg.errors.UndefinedTable:
        row = None
    found = None if row is None else str(row[0])
    if found == EXPECTED_REVISION:
        return _check(True, f"answers; its tables are at revision {found}")
    return _check(
        False,
        f"its tables are at revision {found}, this gateway is for {EXPECTED_REVISION}: "
        "`lalafo up` migrates, or deploy the same version of both",
    )


def _broker(services: Services) -> dict[str, Any]:
    required = services.settings.require_broker
    if services.outbox.broker_unavailable:
        return _check(False, "away: what is accepted waits in PostgreSQL", required=required)
    return _check(True, "not known to be away", required=required)


def _check(ok: bool, found: str, *, required: bool = True) -> dict[str, Any]:
    return {"ok": ok, "required": required, "found": found}
