"""The history route: the changes and incidents of a window, read with one connection."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Query, Response

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Caller, Read
from gateway.problems import Problem
from gateway.schemas.history import ChangeOut, HistoryOut
from gateway.schemas.links import release_page, run_prefix
from gateway.schemas.parameters import QueryInt
from gateway.services import Services, ServicesDep
from gateway.statistics import changes

MAX_MINUTES = 1_440  # sessions are known for a day

router = APIRouter(tags=["read"])


@router.get(
    "/v1/history",
    summary="Get the history",
    description="Returns what changed or broke in the last minutes, newest first: promotions and "
    "other changes of releases, re-scores, new code versions, sessions that died, times without a "
    "session, incidents of the topic. It covers all catalogs: a key that is limited to some "
    "catalogs gets 403.",
    response_model=HistoryOut,
)
async def history(
    caller: Read,
    services: ServicesDep,
    minutes: Annotated[
        QueryInt,
        Query(ge=1, le=MAX_MINUTES, description="Length of the window in minutes, up to now."),
    ] = 60,
) -> Response:
    """Return the history of a window."""
    require_every_catalog(caller, "the history covers")
    found = await _read(services, minutes)
    headers = {"Cache-Control": "no-store"}
    return Response(found.model_dump_json(), media_type="application/json", headers=headers)


def require_every_catalog(caller: Caller, what: str) -> None:
    """Refuse a key that is limited to some catalogs: the answer is about all of them.

    Raises:
        Problem: 403.
    """
    if caller.catalogs is not None:
        raise Problem(
            403,
            "other_catalog",
            f"{what} all catalogs, but this key is limited to some of them",
        )


@repeated_once(repeatable=True)
async def _read(services: Services, minutes: int) -> HistoryOut:
    now = datetime.now(UTC)
    since = now - timedelta(minutes=minutes)
    url = services.settings.dagster_url
    links = changes.Links(run_prefix(url), release_page(url))
    values = {
        "since": since,
        "topic": services.settings.ads_topic,
        "most": changes.MAX_CHANGES,
    }
    async with services.database.connection() as connection:
        sessions = await _rows(connection, changes.SESSIONS, values)
        releases = await _rows(connection, changes.RELEASES, values)
        rescores = await _rows(connection, changes.RESCORES, values)
        incidents = await _rows(connection, changes.INCIDENTS, values)
    found: list[ChangeOut] = [
        *changes.session_changes([changes.Session(*row) for row in sessions], links, now),
        *(changes.release_change(row, links) for row in releases),
        *(one for row in rescores for one in changes.rescore_changes(row, links)),
        *(changes.incident(row, links) for row in incidents),
    ]
    return HistoryOut(since=since, until=now, changes=changes.in_window(found, since))


async def _rows(
    connection: psycopg.AsyncConnection, query: str, values: dict[str, Any]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, values, prepare=True)
    return await cursor.fetchall()
