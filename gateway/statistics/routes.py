"""The routes of the statistics and of the notices."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway.backends.notices import without_details
from gateway.edge.auth import Read
from gateway.schemas.notices import NoticesOut
from gateway.schemas.parameters import QueryInt
from gateway.schemas.statistics import StatisticsOut
from gateway.services import ServicesDep
from gateway.statistics.cache import StatisticsCache
from gateway.statistics.history import require_every_catalog

MAX_MINUTES = 1_440

router = APIRouter(tags=["read"])


@router.get(
    "/v1/statistics",
    summary="Get statistics",
    description="Returns ads, photos and failures by minute, latencies by stage, backlogs, the "
    "running sessions, and the progress of releases. The response is at most one second old, or "
    "one second per hour of a long window. Figures cover all catalogs: a key that is limited to "
    "some catalogs gets 403.",
    response_model=StatisticsOut,
)
async def statistics(
    caller: Read,
    request: Request,
    minutes: Annotated[
        QueryInt,
        Query(ge=1, le=MAX_MINUTES, description="Length of the window in minutes, up to now."),
    ] = 60,
) -> Response:
    """Return the statistics of a window."""
    require_every_catalog(caller, "statistics cover")
    cache = request.app.state.statistics
    assert isinstance(cache, StatisticsCache)
    body = await cache.json(minutes)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get(
    "/v1/notices",
    summary="Get notices",
    description="Returns what a person should know about the stack: no release is live, the live "
    "release has learned from drawn photos only, the last session failed, or none scores what "
    "waits. The list is empty if all is well, and at most two seconds old. A key that is limited "
    "to some catalogs gets the error of a failed session without its text.",
)
async def notices(caller: Read, services: ServicesDep, response: Response) -> NoticesOut:
    """Return the notices that hold now."""
    response.headers["Cache-Control"] = "no-store"
    found = await services.notices.notices()
    return NoticesOut(notices=found if caller.catalogs is None else without_details(found))
