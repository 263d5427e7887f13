"""Liveness and readiness probes.

The gateway is ready when PostgreSQL can be written to and its schema has the expected revision.
Kafka may be unavailable, since the outbox stores accepted events, unless `require_broker` is on.
The photo store must be writable, unless `require_store` is off. Responses do not contain addresses
of servers.
"""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.services import Services, ServicesDep

EXPECTED_REVISION = "0013"  # the migrations' head; a test compares the two

router = APIRouter(include_in_schema=False)


@router.api_route("/healthz", methods=["GET", "HEAD"])  # monitors send HEAD
async def healthz() -> JSONResponse:
    """Liveness: the process responds."""
    return JSONResponse({"status": "ok"})


@router.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(services: ServicesDep) -> JSONResponse:
    """Readiness: 200 if every required check passes, else 503, with the result of each check."""
    checks = {
        "postgresql": await _postgresql(services),
        "broker": _broker(services),
        "store": await _store(services),
    }
    ready = all(check["ok"] or not check["required"] for check in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not ready", "checks": checks},
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
