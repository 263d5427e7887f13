"""The route of the statistics."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from gateway.edge.auth import Read
from gateway.problems import Problem
from gateway.schemas.statistics import StatisticsOut
from gateway.statistics.cache import StatisticsCache

MOST_MINUTES = 1_440

router = APIRouter(tags=["read"])


@router.get(
    "/v1/statistics",
    summary="What happened in the last minutes, and how things stand",
    description="Ads, photos and failures by minute, latencies by stage, what waits, which "
    "sessions work, how far releases are. An answer is a second old at most; of a long window a "
    "second for each hour. The figures are of every catalog: a key for some catalogs gets 403.",
    response_model=StatisticsOut,
)
async def statistics(
    caller: Read,
    request: Request,
    minutes: Annotated[
        int, Query(ge=1, le=MOST_MINUTES, description="The window, up to now.")
    ] = 60,
) -> Response:
    """The statistics of a window."""
    if caller.catalogs is not None:
        raise Problem(
            403, "other_catalog", "statistics are of every catalog, and this key is for some"
        )
    cache = request.app.state.statistics
    assert isinstance(cache, StatisticsCache)
    body = await cache.json(minutes)
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
