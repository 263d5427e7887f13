"""Routes by which ads come and go: POST and DELETE, answered once PostgreSQL has them.

Decides what a request looks like, and how long an answer is waited for. What is accepted, and under
which revision, is `gateway/intake/accept.py`'s.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from gateway.edge.auth import Caller, Ingest
from gateway.intake.accept import AcceptRequest, first_revision
from gateway.intake.event import deletion_of, event_of
from gateway.intake.forms import FormRules, is_form, received_form
from gateway.intake.responses import answered
from gateway.intake.uploads import Upload, store_uploads
from gateway.problems import Problem, invalid
from gateway.schemas.ads import EXAMPLE_AD, Accepted, AdIn, AdOut
from gateway.services import Services, TheServices
from ops.events.parse import MAX_KEY_CHARS
from ops.types import AdKey

router = APIRouter(tags=["ads"])

AD_PART, PHOTO_PART = "ad", "photo"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Your own name for this request: sent again under it, it is not done again, "
        "and the answer is the first one's.",
    ),
]
Wait = Annotated[
    float | None,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait for the result, LALAFO_MAX_WAIT_S (30) at most: then 200 with "
        "the ad as GET has it, else 202.",
    ),
]
CatalogPath = Annotated[str, Path(min_length=1, max_length=MAX_KEY_CHARS)]
AdIdPath = Annotated[str, Path(min_length=1, max_length=MAX_KEY_CHARS)]


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, for a body that is not read by the framework."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return inline(definitions[part["$ref"].rpartition("/")[2]])
            return {name: inline(value) for name, value in part.items()}
        return [inline(item) for item in part] if isinstance(part, list) else part

    found: dict[str, Any] = inline(schema)
    return found


_POST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": inlined(AdIn), "example": EXAMPLE_AD},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [AD_PART],
                    "properties": {
                        AD_PART: {"type": "string", "description": "The ad as JSON."},
                        PHOTO_PART: {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "Photos, in order; they follow those that the ad names.",
                        },
                    },
                },
                "encoding": {AD_PART: {"contentType": "application/json"}},
            },
        },
    }
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "The ad's path."}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": Accepted, "description": "The ad and its event are safe.", "headers": _LOCATION},
    409: {"description": "This revision was accepted with other content."},
}


@router.post(
    "/v1/ads",
    summary="Accept an ad",
    status_code=202,
    response_model=None,
    openapi_extra=_POST_BODY,
    responses={
        **_ANSWERS,
        200: {
            "model": AdOut | Accepted,
            "description": "With `wait`: the ad, scored. Or a revision that was overtaken.",
        },
        408: {"description": "The body stalled."},
    },
)
async def post_ad(
    request: Request,
    services: TheServices,
    caller: Ingest,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """JSON with addresses of photos, or multipart: a part `ad` with the JSON, parts `photo` with
    the photos' bytes. 202 once ad and event are committed; Kafka has the event if `published`.
    """
    wait_s = _wait_s(services, wait)
    services.outbox.require_broker()
    if is_form(request):
        rules = FormRules.of(services.settings, fields={AD_PART}, photos={PHOTO_PART})
        async with received_form(request, rules) as form:
            if AD_PART not in form.fields:
                raise Problem(422, "no_ad", "there is no part named ad; it has the ad as JSON")
            ad = parsed(form.fields[AD_PART])
            wanted = await wanted_ad(services, caller, ad, idempotency_key, form.photos)
    else:
        ad = parsed(await request.body())
        wanted = await wanted_ad(services, caller, ad, idempotency_key)
    return await answered(services, wanted, wait_s)


@router.delete(
    "/v1/ads/{catalog}/{ad_id:path}",
    summary="Delete an ad",
    status_code=202,
    response_model=None,
    responses={
        **_ANSWERS,
        200: {"model": Accepted, "description": "A revision that was overtaken."},
    },
)
async def delete_ad(
    services: TheServices,
    caller: Ingest,
    catalog: CatalogPath,
    ad_id: AdIdPath,
    revision: Annotated[
        int | None, Query(ge=0, description="As that of a POST: the higher one wins.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A tombstone is left, so that an older revision that comes later changes nothing."""
    caller.require_catalog(catalog)
    services.outbox.require_broker()
    given = first_revision() if revision is None else revision
    event = deletion_of(AdKey(catalog, ad_id), given, services.settings)
    return await answered(
        services, AcceptRequest(event, revision is not None, caller.key_id, idempotency_key), None
    )


def parsed(body: bytes) -> AdIn:
    """The ad in a body; Problem where there is none."""
    try:
        return AdIn.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise invalid([{**item, "loc": ("body", *item["loc"])} for item in found]) from error


async def wanted_ad(
    services: Services,
    caller: Caller,
    ad: AdIn,
    idempotency_key: str | None,
    photos: list[Upload] | None = None,
) -> AcceptRequest:
    """What to accept, judged, its photos in the store."""
    caller.require_catalog(ad.catalog)
    uploads = [] if photos is None else photos
    revision = first_revision() if ad.revision is None else ad.revision
    uploaded = [upload.digest for upload in uploads]
    event = event_of(ad, revision, services.settings, uploaded=uploaded)
    if uploads:
        await store_uploads(services, uploads)
    return AcceptRequest(event, ad.revision is not None, caller.key_id, idempotency_key, uploads)


def _wait_s(services: Services, wait: float | None) -> float | None:
    """As long as is asked for, and no longer than the settings allow."""
    return None if wait is None else min(wait, services.settings.max_wait_s)
