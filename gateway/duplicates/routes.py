"""The routes of duplicates: those of an ad, and what people say of two ads.

Owns that a key for some catalogs sees and judges nothing of another.
"""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.duplicates.feedback import store_feedback
from gateway.duplicates.read import read_duplicates
from gateway.edge.auth import Feedback, Read
from gateway.edge.paths import AdInPath
from gateway.monitoring.metrics import FOUND, NONE, MetricsDep
from gateway.problems import Problem
from gateway.reads.filters import Cursor, Limit
from gateway.schemas.duplicates import (
    DuplicateFeedbackIn,
    DuplicateFeedbackOut,
    DuplicatesPage,
)
from gateway.services import ServicesDep
from ops.types import AdKey

router = APIRouter()

_RESPONSES: dict[int | str, dict[str, Any]] = {404: {"description": "The ad does not exist."}}


@router.get(
    "/v1/ads/{catalog}/{ad_id:path}/duplicates",
    tags=["read"],
    summary="Get duplicates",
    description="Returns the ads of the same catalog that are the same as an ad, the most probable "
    "first, and which photos match where. An ad is compared within about a second of its commit, "
    "and is gone with the commit that deletes or changes it.",
    response_model=DuplicatesPage,
    responses=_RESPONSES,
)
async def duplicates(
    caller: Read,
    services: ServicesDep,
    metrics: MetricsDep,
    key: AdInPath,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Return a page of duplicates."""
    caller.require_catalog(key.catalog)
    with metrics.reading_duplicates() as answer:
        page = await read_duplicates(services.database, key, limit=limit, cursor=cursor)
        decided = FOUND if page["duplicates"] else NONE
        answer.kind = decided if page["state"] == "decided" else page["state"]
    return JSONResponse(page)


@router.post(
    "/v1/ads/{catalog}/{ad_id:path}/duplicates/feedback",
    tags=["feedback"],
    summary="Judge a duplicate",
    description="Stores whether two ads of one catalog are the same. It wins over every score, "
    "also after new revisions of the ads, until it is given again. The groups follow within about "
    "a second.",
    response_model=DuplicateFeedbackOut,
    responses=_RESPONSES,
)
async def judge_duplicate(
    caller: Feedback, services: ServicesDep, key: AdInPath, feedback: DuplicateFeedbackIn
) -> JSONResponse:
    """Store what a person says of two ads; sent again, it changes nothing."""
    other = AdKey(feedback.other.catalog, feedback.other.ad_id)
    caller.require_catalog(key.catalog)
    caller.require_catalog(other.catalog)
    if other == key:
        raise Problem(422, "same_ad", f"{key} is both ads; expected two")
    if other.catalog != key.catalog:
        raise Problem(
            422,
            "two_catalogs",
            f"the ads are in the catalogs {key.catalog!r} and {other.catalog!r}; duplicates are of "
            "one catalog",
        )
    given_by = caller.name if feedback.given_by is None else feedback.given_by
    await store_feedback(services.database, key, other, same=feedback.same, given_by=given_by)
    return JSONResponse(
        {
            "ad": {"catalog": key.catalog, "ad_id": key.ad_id},
            "other": {"catalog": other.catalog, "ad_id": other.ad_id},
            **{"same": feedback.same, "given_by": given_by},
        }
    )
