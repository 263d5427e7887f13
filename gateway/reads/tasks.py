"""The installed tasks, and the OpenAPI document with the schemas of their answers.

Sessions and commands, which import the tasks, write what they answer into `lalafo.tasks`; this
process imports none of them.
"""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Read
from gateway.openapi import with_tasks
from gateway.schemas.tasks import TaskOut
from gateway.services import Services, ServicesDep
from ops.errors import RetryableError

router = APIRouter(tags=["read"])

_TASKS = """
    SELECT t.name, t.asset, t.description, coalesce(r.manifest -> 'taxonomy' ? t.name
        OR r.manifest -> 'heads' ? t.name, false), t.answer
    FROM lalafo.tasks AS t LEFT JOIN lalafo.active_releases AS f ON true
    LEFT JOIN lalafo.releases AS r ON r.name = f.live ORDER BY t.name
"""


@router.get(
    "/v1/tasks",
    summary="List the tasks",
    description="Returns the installed tasks by name, each with the JSON Schema of its answer, and "
    "whether the live release runs it.",
)
async def tasks(caller: Read, services: ServicesDep) -> list[TaskOut]:
    """Return the tasks that a session or a command has found installed."""
    return await _read(services)


@router.get("/v1/openapi.json", include_in_schema=False)
async def document(request: Request, services: ServicesDep) -> JSONResponse:
    """Return the OpenAPI document; without PostgreSQL it has no schemas of tasks."""
    base: dict[str, Any] = request.app.openapi()
    found: list[TaskOut] = []
    with suppress(RetryableError):
        found = await _read(services)
    return JSONResponse(with_tasks(base, {task.name: task.answer for task in found}))


@repeated_once(repeatable=True)
async def _read(services: Services) -> list[TaskOut]:
    async with services.database.connection() as connection:
        cursor = await connection.execute(_TASKS, prepare=True)
        rows = await cursor.fetchall()
    return [
        TaskOut(name=name, asset=asset, description=description, live=live, answer=answer)
        for name, asset, description, live, answer in rows
    ]
