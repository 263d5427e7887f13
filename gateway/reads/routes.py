"""The read routes: one ad, the list of ads, the list of failures.

Owns the parameters, and which catalogs a caller may read. `ad.py` and `pages.py` run the queries.
"""

from collections.abc import Sequence
from hashlib import blake2b

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.edge.auth import Caller, Read
from gateway.edge.etags import unchanged
from gateway.edge.paths import AdInPath
from gateway.problems import Problem
from gateway.reads.ad import read_ad_json
from gateway.reads.ad_list import list_ads
from gateway.reads.failure_list import list_failures
from gateway.reads.filters import AdFilters, Cursor, Details, Kind, Limit, ReasonCode, SpanDep
from gateway.reads.pages import PageRequest
from gateway.schemas.ads import AdOut, AdPage, FailurePage
from gateway.schemas.parameters import Catalog
from gateway.services import ServicesDep

router = APIRouter(tags=["read"])

_FILTERED_PAGES = (
    " With a filter other than `catalog`, `day`, `since` and `until`, a page scans at most 5,000 "
    "rows: it may contain fewer than `limit` rows, or none, and still have a `next`."
)


@router.get(
    "/v1/ads",
    summary="List ads",
    description="Returns committed ads, most recently received first. `label`, `agrees` and "
    "`max_score` are about the live release's prediction of the category." + _FILTERED_PAGES,
    response_model=AdPage,
)
async def latest(
    caller: Read,
    services: ServicesDep,
    filters: AdFilters,
    span: SpanDep,
    catalog: Catalog | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    details: Details = False,
) -> Response:
    """Return a page of ads."""
    catalogs = visible(caller, catalog)
    page = PageRequest(catalogs, limit, cursor, filters, *span, details=details)
    return JSONResponse(await list_ads(services.database, page))


@router.get(
    "/v1/ads/{catalog}/{ad_id:path}",
    summary="Get an ad",
    description="Returns the committed ad, with the Dagster run and the release that produced each "
    "value. `waiting` describes a revision that was accepted and is not committed yet. A deleted "
    "ad is returned as a tombstone. Send the response's `ETag` as `If-None-Match` to get 304 while "
    "nothing has changed.",
    response_model=AdOut,
    responses={
        404: {"description": "The ad does not exist."},
        304: {"description": "Not modified since the response with this ETag."},
    },
)
async def one(caller: Read, services: ServicesDep, request: Request, key: AdInPath) -> Response:
    """Return one ad."""
    caller.require_catalog(key.catalog)
    body = await read_ad_json(services, key)
    if body is None:
        raise Problem(
            404, "no_such_ad", f"there is no ad {key.ad_id!r} in the catalog {key.catalog!r}"
        )
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/v1/failures",
    summary="List failures",
    description="Returns events and photos that could not be processed, newest first. Failures of "
    "whole events and of the stream belong to no catalog: a key that is limited to some catalogs "
    "does not get them." + _FILTERED_PAGES,
    response_model=FailurePage,
)
async def failures(
    caller: Read,
    services: ServicesDep,
    span: SpanDep,
    catalog: Catalog | None = None,
    kind: Kind | None = None,
    reason: ReasonCode | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return a page of failures."""
    filters = {"kind": kind, "reason": reason}
    page = PageRequest(visible(caller, catalog), limit, cursor, filters, *span)
    dagster_url = services.settings.dagster_url
    return JSONResponse(await list_failures(services.database, page, dagster_url=dagster_url))


def visible(caller: Caller, catalog: str | None) -> Sequence[str] | None:
    """The catalogs of a list: the requested one, or all that the caller may access.

    Returns:
        The catalogs; None: every catalog.

    Raises:
        Problem: 403, the caller may not access the requested catalog.
    """
    if catalog is not None:
        caller.require_catalog(catalog)
        return (catalog,)
    return None if caller.catalogs is None else sorted(caller.catalogs)
