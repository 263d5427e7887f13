"""The routes that read: an ad, the latest ads, the failures.

Decides what may be asked for, and who sees which catalogs. What is looked up, and how, is
`reading.py`'s and `listing.py`'s.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AwareDatetime, BeforeValidator, StringConstraints

from gateway.edge.auth import Caller, Read
from gateway.edge.etags import unchanged
from gateway.problems import Problem
from gateway.reads.ad import read_ad_json
from gateway.reads.cursors import MAX_CHARS, PATTERN
from gateway.reads.pages import MOST_ROWS, PageRequest, list_ads, list_failures
from gateway.schemas.ads import AdId, AdOut, AdPage, Catalog, FailurePage
from gateway.services import TheServices
from ops.types import AdKey

router = APIRouter(tags=["read"])

Status = Literal["received", "scored", "unscored", "no_photos", "deleted"]
Kind = Literal["event", "photo", "stream"]
ReasonCode = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]


def _written_out(value: Any) -> Any:
    if isinstance(value, str) and value.replace(".", "", 1).lstrip("+-").isdigit():
        raise ValueError("a moment is expected, such as 2026-05-01T12:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out)]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows of a page, at most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=MAX_CHARS, pattern=PATTERN, description="`next` of the page before."),
]

_A_PAGE = (
    " With a filter that no index knows (status; kind, reason) a page looks at 1,000 rows and no "
    "more: it may hold fewer than `limit`, or none, and still have a `next`."
)


@router.get(
    "/v1/ads",
    summary="The latest ads",
    description="Committed ads, those that were received last first." + _A_PAGE,
    response_model=AdPage,
)
async def latest(
    caller: Read,
    services: TheServices,
    catalog: Catalog | None = None,
    status: Status | None = None,
    since: Annotated[Moment | None, Query(description="Received then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Received before.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """A page of ads."""
    page = PageRequest(
        catalogs=visible(caller, catalog),
        limit=limit,
        cursor=cursor,
        filters={"status": status},
        since=since,
        until=until,
    )
    return JSONResponse(await list_ads(services.database, page))


@router.get(
    "/v1/ads/{catalog}/{ad_id:path}",
    summary="Everything known of an ad",
    description="What was committed of it, with the Dagster run and the release behind each "
    "value; and under `waiting` what was accepted and is not committed yet. A deleted ad stays as "
    "its tombstone. Send the ETag that came as If-None-Match: 304 while nothing has changed.",
    response_model=AdOut,
    responses={
        404: {"description": "No such ad."},
        304: {"description": "Nothing has changed since the answer with this ETag."},
    },
)
async def one(
    caller: Read, services: TheServices, request: Request, catalog: Catalog, ad_id: AdId
) -> Response:
    """One ad."""
    caller.require_catalog(catalog)
    body = await read_ad_json(services, AdKey(catalog, ad_id))
    if body is None:
        raise Problem(404, "no_such_ad", f"no ad {ad_id!r} is known in the catalog {catalog!r}")
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/v1/failures",
    summary="Events and photos that could not be used",
    description="The latest first. Failures of whole events and of the stream belong to no "
    "catalog: a key for some catalogs does not see them." + _A_PAGE,
    response_model=FailurePage,
)
async def failures(
    caller: Read,
    services: TheServices,
    catalog: Catalog | None = None,
    kind: Kind | None = None,
    reason: ReasonCode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """A page of failures."""
    page = PageRequest(
        catalogs=visible(caller, catalog),
        limit=limit,
        cursor=cursor,
        filters={"kind": kind, "reason": reason},
    )
    dagster_url = services.settings.dagster_url
    return JSONResponse(await list_failures(services.database, page, dagster_url=dagster_url))


def visible(caller: Caller, catalog: str | None) -> Sequence[str] | None:
    """The catalogs that a list is of: the one asked for, or all that the caller may see (None:
    every one). A Problem (403) for one that is not the caller's."""
    if catalog is not None:
        caller.require_catalog(catalog)
        return (catalog,)
    return None if caller.catalogs is None else sorted(caller.catalogs)
