"""Liveness and readiness probes.

The gateway is ready when PostgreSQL can be written to and its schema has the expected revision.
Kafka may be unavailable, since the outbox stores accepted events, unless `require_broker` is on.
The photo store must be writable, unless `require_store` is off. The notices change nothing about
it: without a release, ads are accepted and wait. Responses do not contain addresses of servers, and
errors of sessions only where no API keys are required.
"""

import asyncio
from typing import Any

import psycopg
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.backends.notices import without_details
from gateway.services import Services, ServicesDep
from ops.errors import RetryableError

EXPECTED_REVISION = "0025"  # the migrations' head; a test compares the two

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])  # monitors send HEAD
async def healthz() -> JSONResponse:
    """Liveness: the process responds."""
    return JSONResponse({"status": "ok"})


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(services: ServicesDep) -> JSONResponse:
    """Readiness: 200 if every required check passes, else 503; with each check, and the notices."""
    checks = {
        "postgresql": await _postgresql(services),
        "broker": _broker(services),
        "store": await _store(services),
    }
    ready = all(check["ok"] or not check["required"] for check in checks.values())
    return JSONResponse(
        {
            "status": "ready" if ready else "not ready",
            "checks": checks,
            "notices": await _notices(services),
        },
        status_code=200 if ready else 503,
        headers={"Cache-Control": "no-store"},
    )


async def _postgresql(services: Services) -> dict[str, Any]:
    probed = await services.probe.result()
    revision = probed.revision
    if probed.problem != "":
        return _check(False, probed.problem)
    if revision == EXPECTED_REVISION:
        return _check(True, f"responds; the schema is at revision {revision}")
    return _check(
        False,
        f"the schema is at revision {revision}, this gateway expects {EXPECTED_REVISION}: run "
        "`lalafo migrate` of this version, or deploy the same version of both",
    )


async def _notices(services: Services) -> list[dict[str, Any]]:
    try:
        found = await services.notices.notices()
    except (RetryableError, psycopg.Error):  # the check of PostgreSQL says what is wrong
        return []
    shown = found if services.settings.gateway_auth == "off" else without_details(found)
    return [notice.model_dump(mode="json") for notice in shown]


def _broker(services: Services) -> dict[str, Any]:
    required = services.settings.require_broker
    if services.outbox.broker_unavailable:
        return _check(
            False, "unavailable: accepted events are stored in PostgreSQL", required=required
        )
    return _check(True, "available", required=required)


async def _store(services: Services) -> dict[str, Any]:
    required = services.settings.require_store
    problem = await asyncio.to_thread(services.store_watch.problem)
    if problem is None:
        return _check(True, "can be written", required=required)
    found = f"{problem}: photos can't be uploaded, and ads wait until their photos can be stored"
    return _check(False, found, required=required)


def _check(ok: bool, found: str, *, required: bool = True) -> dict[str, Any]:
    return {"ok": ok, "required": required, "found": found}
