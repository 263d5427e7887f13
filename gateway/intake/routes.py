"""The routes that post and delete ads; they respond once PostgreSQL has committed the ad.

Owns the request's parameters and body. `gateway/intake/accept.py` handles revisions.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from gateway.edge.auth import Caller, Ingest
from gateway.edge.paths import AdInPath
from gateway.intake.accept import AcceptRequest, first_revision
from gateway.intake.bodies import inlined, read_body
from gateway.intake.event import deletion_of, event_of
from gateway.intake.forms import FormRules, is_form, receive_form
from gateway.intake.responses import accept_and_respond
from gateway.problems import Problem
from gateway.schemas.ads import Accepted, AdOut
from gateway.schemas.parameters import QueryNumber, QueryRevision
from gateway.schemas.requests import EXAMPLE_AD, AdIn
from gateway.services import Services, ServicesDep
from gateway.uploads import Upload, store_uploads
from ops.events.parse import EventLimits

router = APIRouter(tags=["ads"])

AD_PART, PHOTO_PART = "ad", "photo"

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="A unique key that you choose for this request. If the request is sent again "
        "with the same key, it is not repeated, and the response is the first one's.",
    ),
]
Wait = Annotated[
    QueryNumber | None,
    Query(
        ge=0,
        allow_inf_nan=False,
        description="Seconds to wait until the ad is scored, at most LALAFO_MAX_WAIT_S (30). The "
        "response is 200 with the ad, as GET returns it, or 202 if the time is over.",
    ),
]


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
                            "description": "Photos, in order. They follow the ad's own `photos`.",
                        },
                    },
                },
                "encoding": {AD_PART: {"contentType": "application/json"}},
            },
        },
    }
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "The path of the ad."}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Accepted,
        "description": "Accepted: the ad and its event are stored durably.",
        "headers": _LOCATION,
    },
    409: {"description": "The revision was already accepted with other content."},
}


@router.post(
    "/v1/ads",
    summary="Post an ad",
    status_code=202,
    response_model=None,
    openapi_extra=_POST_BODY,
    responses={
        **_RESPONSES,
        200: {
            "model": AdOut | Accepted,
            "description": "With `wait`: the scored ad. Without: the revision is superseded by a "
            "higher one.",
        },
        408: {"description": "No data was received for 30 s."},
    },
)
async def post_ad(
    request: Request,
    services: ServicesDep,
    caller: Ingest,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Creates or replaces an ad. Send JSON with the URLs of photos, or a multipart form: a part
    `ad` with the JSON, and parts `photo` with the bytes of photos. The response is 202 once the ad
    and its event are committed; `published` says whether Kafka has acknowledged the event.
    """
    wait_s = _wait_s(services, wait)
    services.outbox.require_broker()
    if is_form(request):
        rules = FormRules.of(services.settings, fields={AD_PART}, photos={PHOTO_PART})
        async with receive_form(request, rules) as form:
            if AD_PART not in form.fields:
                raise Problem(422, "no_ad", "there is no part named ad; expected the ad as JSON")
            ad = parse_ad(form.fields[AD_PART], services.settings.event_limits)
            to_accept = await accept_request(services, caller, ad, idempotency_key, form.photos)
    else:
        ad = parse_ad(await request.body(), services.settings.event_limits)
        to_accept = await accept_request(services, caller, ad, idempotency_key)
    return await accept_and_respond(services, to_accept, wait_s)


@router.delete(
    "/v1/ads/{catalog}/{ad_id:path}",
    summary="Delete an ad",
    status_code=202,
    response_model=None,
    responses={
        **_RESPONSES,
        200: {"model": Accepted, "description": "The revision is superseded by a higher one."},
    },
)
async def delete_ad(
    services: ServicesDep,
    caller: Ingest,
    key: AdInPath,
    revision: Annotated[
        QueryRevision | None,
        Query(
            description="The revision of the deletion, at most 2^62; the highest revision of an ad "
            "wins. If omitted, the gateway assigns the next one.",
        ),
    ] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Deletes an ad. A tombstone remains, so that a lower revision that arrives later has no
    effect.
    """
    caller.require_catalog(key.catalog)
    services.outbox.require_broker()
    event_revision = first_revision() if revision is None else revision
    event = deletion_of(key, event_revision, services.settings)
    return await accept_and_respond(
        services, AcceptRequest(event, revision is not None, caller.key_id, idempotency_key), None
    )


def parse_ad(body: bytes, limits: EventLimits) -> AdIn:
    """Parse and validate the ad in a body.

    Raises:
        Problem: 422, the body is not a valid ad.
    """
    return read_body(body, AdIn, limits)


async def accept_request(
    services: Services,
    caller: Caller,
    ad: AdIn,
    idempotency_key: str | None,
    photos: list[Upload] | None = None,
) -> AcceptRequest:
    """Validate an ad and store its uploaded photos."""
    caller.require_catalog(ad.catalog)
    uploads = [] if photos is None else photos
    revision = first_revision() if ad.revision is None else ad.revision
    uploaded = [upload.digest for upload in uploads]
    event = event_of(ad, revision, services.settings, uploaded=uploaded)
    if uploads:
        await store_uploads(services, uploads)
    return AcceptRequest(event, ad.revision is not None, caller.key_id, idempotency_key, uploads)


def _wait_s(services: Services, wait: float | None) -> float | None:
    """The requested wait in seconds, limited by LALAFO_MAX_WAIT_S; None: don't wait."""
    return None if wait is None else min(wait, services.settings.max_wait_s)
