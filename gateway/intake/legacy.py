"""The routes of the original API, with its JSON, for marketplaces that still use it.

A request becomes an ad of the catalog `legacy`, which is accepted like any other, and the route
waits for its result. Errors have the original API's shape too (`gateway/problems.py`).
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.backends.connections import repeated_once
from gateway.edge.auth import Ingest, Read
from gateway.intake.accept import AcceptRequest
from gateway.intake.bodies import inlined, read_body, validated
from gateway.intake.event import event_of
from gateway.intake.forms import FormRules, is_form, receive_form
from gateway.intake.responses import accept_and_publish, scored_ad
from gateway.intake.routes import accept_request
from gateway.intake.statements import read_known
from gateway.problems import Problem
from gateway.reads.ad import read_ad
from gateway.schemas.parameters import AdId, Catalog, TitleIn
from gateway.schemas.requests import AdIn, PhotoIn
from gateway.services import Services, ServicesDep
from gateway.uploads import Upload, store_uploads
from ops.events.fields import MAX_ASSIGNED_REVISION
from ops.types import AdEvent, AdKey, EventKind, PhotoRef

CATALOG_NAME = "legacy"
WAIT_S = 5.0
FIRST_REVISION = 1
ATTEMPTS = 5

router = APIRouter(tags=["original"])


class OriginalAd(BaseModel):
    """An ad as the original API accepted it. Unknown fields are ignored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"ad_id": "42", "images": ["https://photos.example/1.jpg"]}]
        }
    )

    ad_id: Annotated[
        AdId,
        BeforeValidator(
            lambda v: str(v) if type(v) is int else v, json_schema_input_type=AdId | int
        ),
    ]
    images: list[str] = Field(default_factory=list, description="URLs of the ad's photos.")
    catalog: Catalog = CATALOG_NAME
    title: TitleIn = ""


class OriginalResult(BaseModel):
    """The category of an ad, as the original API returned it."""

    ad_id: str
    category: str | None
    score: float | None
    top: list[tuple[str, float]] = Field(
        description="The most probable labels with their scores, best first."
    )
    status: str


class OriginalAnswer(BaseModel):
    """The result. `results` is null while the ad is being processed; request it again then."""

    status: Literal["Success", "Processing"]
    results: OriginalResult | None


class OriginalError(BaseModel):
    Status: Literal["Error"]
    Message: str


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": inlined(OriginalAd)},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["ad_id"],
                    "properties": {
                        "ad_id": {"type": "string"},
                        "catalog": {"type": "string"},
                        "title": {"type": "string"},
                        "images": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        },
                    },
                }
            },
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OriginalError}
    for status in (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 503)
}


@router.post(
    "/classify",
    summary="Classify an ad",
    response_model=OriginalAnswer,
    openapi_extra=_BODY,
    responses=_ERRORS,
)
async def classify(request: Request, services: ServicesDep, caller: Ingest) -> dict[str, Any]:
    """Creates or replaces the ad, and waits up to 5 s for its category."""
    services.outbox.require_broker()
    async with _receive(request, services) as (ad, photos):
        to_accept = await accept_request(services, caller, _ad(ad), None, photos)
    return await _result(services, to_accept) or _PROCESSING


@router.post(
    "/v4/classify/add_images",
    summary="Add photos to an ad",
    response_model=OriginalAnswer,
    openapi_extra=_BODY,
    responses=_ERRORS,
)
async def add_images(request: Request, services: ServicesDep, caller: Ingest) -> dict[str, Any]:
    """Adds photos to the ad, or creates the ad if it does not exist. Photos that the ad already has
    are not added again.
    """
    services.outbox.require_broker()
    async with _receive(request, services) as (ad, photos):
        caller.require_catalog(ad.catalog)
        await store_uploads(services, photos)
    for _ in range(ATTEMPTS):
        event = await _with_photos(services, ad, [photo.digest for photo in photos])
        try:
            result = await _result(
                services, AcceptRequest(event, True, caller.key_id, uploads=photos)
            )
        except Problem as problem:  # another request changed the ad since it was read
            if problem.kind != "revision_taken":
                raise
        else:
            if result is not None:
                return result
    raise Problem(
        409, "busy", f"too many concurrent requests change ad {ad.ad_id}: send the request again"
    )


@router.get(
    "/classify/results",
    summary="Get the category of an ad",
    response_model=OriginalAnswer,
    responses=_ERRORS,
)
async def results(
    services: ServicesDep,
    caller: Read,
    ad_id: AdId,
    catalog: Catalog = CATALOG_NAME,
) -> dict[str, Any]:
    """Returns the ad's category, without waiting."""
    caller.require_catalog(catalog)
    ad = await read_ad(services, AdKey(catalog, ad_id))
    if ad is None:
        raise Problem(404, "no_such_ad", f"there is no ad {ad_id} in the catalog {catalog}")
    return _legacy_result(ad)


_PROCESSING: dict[str, Any] = {"status": "Processing", "results": None}


@asynccontextmanager
async def _receive(
    request: Request, services: Services
) -> AsyncIterator[tuple[OriginalAd, list[Upload]]]:
    """Receive the ad from a JSON or multipart body, and the uploaded photos."""
    if not is_form(request):
        body = await request.body()
        yield read_body(body, OriginalAd, services.settings.event_limits), []
        return
    rules = FormRules.of(services.settings, fields={"ad_id", "catalog", "title"}, photos={"images"})
    async with receive_form(request, rules) as form:
        fields = {name: _utf8(name, value) for name, value in form.fields.items()}
        yield validated(fields, OriginalAd), form.photos


def _utf8(name: str, value: bytes) -> str:
    """The text of a form's field. With replaced bytes, an id would be another ad's."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Problem(422, "invalid", f"{name}: expected UTF-8") from error


def _ad(ad: OriginalAd) -> AdIn:
    """The ad as `POST /v1/ads` accepts it; the gateway assigns the revision."""
    photos = [validated({"url": url}, PhotoIn) for url in ad.images]
    return AdIn(catalog=ad.catalog, ad_id=ad.ad_id, title=ad.title, photos=photos)


@repeated_once(repeatable=True)
async def _with_photos(services: Services, ad: OriginalAd, uploaded: list[bytes]) -> AdEvent:
    """The ad's next revision, with these photos after the existing ones.

    A concurrent change takes the same revision first: then accepting this one fails.
    """
    added = event_of(_ad(ad), FIRST_REVISION, services.settings, uploaded=uploaded)
    async with services.database.connection() as connection:
        known = await read_known(connection, added.key, services.settings)
    if known is None:
        return added
    if known.revision == MAX_ASSIGNED_REVISION:
        raise Problem(
            409,
            "revision_exhausted",
            f"ad {ad.ad_id} has the highest possible revision and can't be changed any more",
        )
    if known.kind is EventKind.DELETED:
        return replace(added, revision=known.revision + 1)
    photos = dict.fromkeys((*known.photos, *added.photos))
    photos.pop(PhotoRef(), None)
    max_photos = services.settings.max_photos_per_ad
    if len(photos) > max_photos:
        raise Problem(
            422,
            "too_many_photos",
            f"the ad would have {len(photos)} photos; at most {max_photos} are allowed",
            allowed=max_photos,
        )
    return replace(
        added,
        revision=known.revision + 1,
        title=added.title or known.title,
        description=known.description,
        category=known.category,
        price=known.price,
        currency=known.currency,
        seller=known.seller,
        attributes=known.attributes,
        photos=tuple(photos),
    )


async def _result(services: Services, request: AcceptRequest) -> dict[str, Any] | None:
    """Accept an event and wait for the ad's category; None if a higher revision is known."""
    key = request.event.key
    with services.commits.expect(key) as committed:
        response = await accept_and_publish(services, request)
        if response.body["state"] == "superseded":
            return None
        ad = await scored_ad(
            services,
            key,
            response.body["revision"],
            committed,
            within_s=min(WAIT_S, services.settings.max_wait_s),
            read_first=response.pending is None,
        )
    return _PROCESSING if ad is None else _legacy_result(json.loads(ad))


def _legacy_result(ad: dict[str, Any]) -> dict[str, Any]:
    """Convert an ad, as GET /v1/ads/… returns it, to the original API's result."""
    if ad["run"] is None or ad["status"] == "received":
        return _PROCESSING
    prediction = ad["predictions"].get("category")
    return {
        "status": "Success",
        "results": {
            "ad_id": ad["ad_id"],
            "category": None if prediction is None else prediction["label"],
            "score": None if prediction is None else prediction["score"],
            "top": [] if prediction is None else prediction["details"].get("top", []),
            "status": ad["status"],
        },
    }
