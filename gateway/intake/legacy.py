"""The original's routes, with its JSON: for marketplaces that called it and need not change.

Decides what the original's requests mean today: an ad of the catalog `legacy`, accepted as any
other, its result waited for. Errors have the original's shape too (`gateway/problems.py`).
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gateway.edge.auth import Ingest, Read
from gateway.intake.accept import AcceptRequest
from gateway.intake.event import event_of
from gateway.intake.forms import FormRules, is_form, received_form
from gateway.intake.responses import published, scored_ad
from gateway.intake.routes import inlined, wanted_ad
from gateway.intake.statements import read_known
from gateway.intake.uploads import Upload, store_uploads
from gateway.problems import Problem, invalid
from gateway.reads.ad import read_ad
from gateway.schemas.ads import CATALOG, NO_NUL, AdId, AdIn, Catalog, PhotoIn
from gateway.services import Services, TheServices
from ops.events.parse import MAX_KEY_CHARS, MAX_REVISION
from ops.types import AdEvent, AdKey, EventKind, PhotoRef

CATALOG_NAME = "legacy"
WAIT_S = 5.0
FIRST_REVISION = 1
ATTEMPTS = 5

router = APIRouter(tags=["original"])


class OriginalAd(BaseModel):
    """An ad as the original took it; what else came with it is let through."""

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
    images: list[str] = Field(default_factory=list, description="Addresses of its photos.")
    catalog: Catalog = CATALOG_NAME
    title: Annotated[str, Field(pattern=NO_NUL)] = ""


class OriginalResult(BaseModel):
    """What the original said of an ad."""

    ad_id: str
    category: str | None
    score: float | None
    top: list[tuple[str, float]] = Field(description="Labels with their shares, the best first.")
    status: str


class OriginalAnswer(BaseModel):
    """`results` is null while the ad is being processed: ask again."""

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
async def classify(request: Request, services: TheServices, caller: Ingest) -> dict[str, Any]:
    """Replaces what is known of the ad; waits 5 s for its category."""
    services.outbox.require_broker()
    async with _received(request, services) as (ad, photos):
        wanted = await wanted_ad(services, caller, _ad(ad), None, photos)
    return await _result(services, wanted) or _PROCESSING


@router.post(
    "/v4/classify/add_images",
    summary="Add photos to an ad",
    response_model=OriginalAnswer,
    openapi_extra=_BODY,
    responses=_ERRORS,
)
async def add_images(request: Request, services: TheServices, caller: Ingest) -> dict[str, Any]:
    """Those that the ad has already are not added twice; an ad that is not there is made."""
    services.outbox.require_broker()
    async with _received(request, services) as (ad, photos):
        caller.require_catalog(ad.catalog)
        await store_uploads(services, photos)
    for _ in range(ATTEMPTS):
        event = await _with_photos(services, ad, [photo.digest for photo in photos])
        try:
            message = await _result(
                services, AcceptRequest(event, True, caller.key_id, uploads=photos)
            )
        except Problem as problem:  # somebody else changed it since it was read
            if problem.kind != "revision_taken":
                raise
        else:
            if message is not None:
                return message
    raise Problem(409, "busy", f"ad {ad.ad_id} is changed by many at once: send it again")


@router.get(
    "/classify/results",
    summary="The category of an ad",
    response_model=OriginalAnswer,
    responses=_ERRORS,
)
async def results(
    services: TheServices,
    caller: Read,
    ad_id: Annotated[str, Query(min_length=1, max_length=MAX_KEY_CHARS, pattern=NO_NUL)],
    catalog: Annotated[str, Query(max_length=MAX_KEY_CHARS, pattern=CATALOG)] = CATALOG_NAME,
) -> dict[str, Any]:
    """What is known now."""
    caller.require_catalog(catalog)
    ad = await read_ad(services, AdKey(catalog, ad_id))
    if ad is None:
        raise Problem(404, "no_such_ad", f"there is no ad {ad_id} in the catalog {catalog}")
    return _legacy_result(ad)


_PROCESSING: dict[str, Any] = {"status": "Processing", "results": None}


@asynccontextmanager
async def _received(
    request: Request, services: Services
) -> AsyncIterator[tuple[OriginalAd, list[Upload]]]:
    """The ad in a body, JSON or multipart, and the photos that came along."""
    if not is_form(request):
        body = await request.body()
        yield _parsed(lambda: OriginalAd.model_validate_json(body)), []
        return
    rules = FormRules.of(services.settings, fields={"ad_id", "catalog", "title"}, photos={"images"})
    async with received_form(request, rules) as form:
        fields = {name: value.decode("utf-8", "replace") for name, value in form.fields.items()}
        yield _parsed(lambda: OriginalAd.model_validate(fields)), form.photos


def _parsed(parse: Callable[[], OriginalAd]) -> OriginalAd:
    try:
        return parse()
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False)) from error


def _ad(ad: OriginalAd) -> AdIn:
    """As `POST /v1/ads` would have it; the gateway gives the revision."""
    try:
        return AdIn(
            catalog=ad.catalog,
            ad_id=ad.ad_id,
            title=ad.title,
            photos=[PhotoIn(url=url) for url in ad.images],
        )
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False)) from error


async def _with_photos(services: Services, ad: OriginalAd, uploaded: list[bytes]) -> AdEvent:
    """The revision after the one that is known, with these photos behind its own: if another came
    between, it has taken that revision."""
    added = event_of(_ad(ad), FIRST_REVISION, services.settings, uploaded=uploaded)
    async with services.database.connection() as connection:
        known = await read_known(connection, added.key, services.settings)
    if known is None:
        return added
    if known.revision == MAX_REVISION:
        raise Problem(409, "revision_taken_for_good", f"ad {ad.ad_id} has the highest revision")
    if known.kind is EventKind.DELETED:
        return replace(added, revision=known.revision + 1)
    photos = dict.fromkeys((*known.photos, *added.photos))
    photos.pop(PhotoRef(), None)
    most = services.settings.max_photos_per_ad
    if len(photos) > most:
        raise Problem(
            422,
            "too_many_photos",
            f"the ad would have {len(photos)} photos of {most} allowed",
            allowed=most,
        )
    return replace(
        added,
        revision=known.revision + 1,
        title=added.title or known.title,
        description=known.description,
        category=known.category,
        price=known.price,
        currency=known.currency,
        photos=tuple(photos),
    )


async def _result(services: Services, wanted: AcceptRequest) -> dict[str, Any] | None:
    """Accept it and wait for its category; None where a higher revision is known."""
    key = wanted.event.key
    with services.commits.expect(key) as committed:
        answer = await published(services, wanted)
        if answer.body["state"] == "superseded":
            return None
        ad = await scored_ad(
            services,
            key,
            answer.body["revision"],
            committed,
            within_s=min(WAIT_S, services.settings.max_wait_s),
            look_first=answer.pending is None,
        )
    return _PROCESSING if ad is None else _legacy_result(json.loads(ad))


def _legacy_result(ad: dict[str, Any]) -> dict[str, Any]:
    """An ad as GET /v1/ads/… has it, in the original's words."""
    if ad["run"] is None or ad["status"] == "received":
        return _PROCESSING
    said = ad["predictions"].get("category")
    return {
        "status": "Success",
        "results": {
            "ad_id": ad["ad_id"],
            "category": None if said is None else said["label"],
            "score": None if said is None else said["score"],
            "top": [] if said is None else said["details"].get("top", []),
            "status": ad["status"],
        },
    }
