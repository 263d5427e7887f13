"""The routes of searches for similar ads.

Owns the parameters, and that a key for some catalogs finds and searches by nothing of another.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from gateway.edge.auth import Caller, Read
from gateway.edge.paths import AdInPath
from gateway.monitoring.metrics import FOUND, NONE, GatewayMetrics, MetricsDep
from gateway.problems import Problem
from gateway.reads.filters import Cursor, Filed, Limit
from gateway.reads.routes import visible
from gateway.schemas.parameters import (
    Catalog,
    QueryBool,
    QueryMoment,
    QueryNumber,
    QueryPrice,
    text_in,
)
from gateway.schemas.similar import AdKeyIn, SearchIn, SimilarPage
from gateway.search.photos import is_own_upload, photo_vector
from gateway.search.run import search
from gateway.services import Services, ServicesDep
from gateway.uploads import PHOTO_BODY, receive_photo, record_upload, store_uploads
from ops.events.fields import MAX_CURRENCY_CHARS, MAX_SELLER_CHARS

router = APIRouter(tags=["read"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"description": "The ad or the photo does not exist."},
    409: {
        "description": "There is nothing to compare: the ad has no usable photo or is not indexed "
        "yet, or no index is ready. `type` says which."
    },
}
_NOTE = (
    " Ads are compared by their photos, under the live release. An ad is found within about a "
    "second of its commit, and is gone with the commit that deletes or changes it."
)


async def similar_filters(
    category: Annotated[
        Filed | None,
        Query(description="Only ads whose seller chose this category, or one below it."),
    ] = None,
    price_from: Annotated[
        QueryPrice | None, Query(description="Inclusive; needs `currency`.")
    ] = None,
    price_to: Annotated[
        QueryPrice | None, Query(description="Inclusive; needs `currency`.")
    ] = None,
    currency: Annotated[str, *text_in("currency", MAX_CURRENCY_CHARS)] | None = None,
    seller: Annotated[str, *text_in("seller", MAX_SELLER_CHARS)] | None = None,
    since: Annotated[
        QueryMoment | None, Query(description="Only ads received at this time or later.")
    ] = None,
    until: Annotated[
        QueryMoment | None, Query(description="Only ads received before this time.")
    ] = None,
    other_sellers: Annotated[
        QueryBool, Query(description="Leave out the ads of the ad's seller.")
    ] = False,
    min_similarity: Annotated[
        QueryNumber, Query(ge=-1, le=1, description="The least similarity of an ad.")
    ] = -1.0,
) -> dict[str, Any]:
    """The filters of similar ads, as a dependency."""
    return {
        **{"category": category, "price_from": price_from, "price_to": price_to},
        **{"currency": currency, "seller": seller, "since": since, "until": until},
        **{"other_sellers": other_sellers, "min_similarity": min_similarity},
    }


SimilarFilters = Annotated[dict[str, Any], Depends(similar_filters)]


@router.get(
    "/v1/ads/{catalog}/{ad_id:path}/similar",
    summary="Get similar ads",
    description="Returns the ads that are most similar to an ad, the most similar first." + _NOTE,
    response_model=SimilarPage,
    responses=_RESPONSES,
)
async def similar(
    caller: Read,
    services: ServicesDep,
    metrics: MetricsDep,
    key: AdInPath,
    filters: SimilarFilters,
    within: Annotated[Catalog | None, Query(description="Only ads of this catalog.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Return a page of similar ads."""
    ad = AdKeyIn.model_construct(catalog=key.catalog, ad_id=key.ad_id)
    asked = SearchIn.model_construct(
        **filters, ad=ad, catalog=within, limit=limit, cursor=cursor, include_own=False
    )
    return await _answer(services, metrics, caller, asked)


@router.post(
    "/v1/search",
    summary="Search ads",
    description="Returns the ads that are most similar to an ad, to a photo, or to a vector."
    + _NOTE,
    response_model=SimilarPage,
    responses=_RESPONSES,
)
async def search_ads(
    caller: Read, services: ServicesDep, metrics: MetricsDep, asked: SearchIn
) -> JSONResponse:
    """Return a page of ads."""
    given = sum(it is not None for it in (asked.ad, asked.sha256, asked.url, asked.vector))
    if given != 1:
        raise Problem(
            422,
            "nothing_to_search_by" if given == 0 else "several_to_search_by",
            f"{given} of ad, sha256, url and vector were given, expected exactly one",
        )
    return await _answer(services, metrics, caller, asked)


@router.post(
    "/v1/search/photo",
    summary="Search ads by a photo",
    description="Returns the ads that are most similar to the photo in the body; its format is "
    "detected by its first bytes." + _NOTE,
    response_model=SimilarPage,
    responses=_RESPONSES,
    openapi_extra=PHOTO_BODY,
)
async def search_by_photo(
    request: Request,
    caller: Read,
    services: ServicesDep,
    metrics: MetricsDep,
    filters: SimilarFilters,
    within: Annotated[Catalog | None, Query(description="Only ads of this catalog.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JSONResponse:
    """Return a page of ads. Further pages can be asked for by the answer's `sha256`."""
    async with receive_photo(request, services.settings) as upload:
        await store_uploads(services, [upload])
    await record_upload(services, upload, caller.key_id)
    asked = SearchIn.model_construct(
        **filters, sha256=upload.digest.hex(), catalog=within, limit=limit, cursor=cursor
    )
    return await _answer(services, metrics, caller, asked, uploaded=True)


async def _answer(
    services: Services,
    metrics: GatewayMetrics,
    caller: Caller,
    asked: SearchIn,
    *,
    uploaded: bool = False,
) -> JSONResponse:
    by = "ad" if asked.ad is not None else "vector" if asked.vector is not None else "photo"
    with metrics.searching(by) as answer:
        page = await _page(services, caller, asked, uploaded=uploaded)
        answer.kind = FOUND if page["ads"] else NONE
    return JSONResponse(page)


async def _page(
    services: Services, caller: Caller, asked: SearchIn, *, uploaded: bool
) -> dict[str, Any]:
    if asked.ad is not None:
        caller.require_catalog(asked.ad.catalog)
    priced = asked.price_from is not None or asked.price_to is not None
    if priced and asked.currency is None:
        raise Problem(
            422, "no_currency", "price_from and price_to need currency: prices are of one currency"
        )
    catalogs, readable = visible(caller, asked.catalog), visible(caller, None)
    database = services.database
    photo = None
    if asked.url is not None:
        photo = await photo_vector(database, url=asked.url)
    try:
        return await search(database, asked, catalogs, readable, photo)
    except Problem as problem:
        if asked.sha256 is None or problem.kind not in ("no_such_photo", "not_indexed"):
            raise
        digest = bytes.fromhex(asked.sha256)
        if not uploaded and not await is_own_upload(database, digest, caller.key_id):
            raise
    photo = await photo_vector(database, sha256=digest)
    return await search(database, asked, catalogs, readable, photo)
