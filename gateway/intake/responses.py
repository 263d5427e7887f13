"""Responses to accepted ads: after publishing, or after waiting for the ad to be scored.

An accepted ad is never answered with an error, even if a service fails while the request waits for
its result.
"""

import asyncio
import json
import logging

from fastapi.responses import Response

from gateway.intake.accept import AcceptRequest, AcceptResponse, accept
from gateway.reads.ad import read_ad_json
from gateway.services import Services
from ops.errors import RetryableError
from ops.types import AdKey

log = logging.getLogger(__name__)


async def accept_and_respond(
    services: Services, request: AcceptRequest, wait_s: float | None
) -> Response:
    """Accept and publish an event; with `wait_s` wait until the ad is scored."""
    key = request.event.key
    if wait_s is None:
        return _accepted(await accept_and_publish(services, request))
    with services.commits.expect(key) as committed:
        response = await accept_and_publish(services, request)
        if response.body["state"] == "superseded":
            return _accepted(response)
        ad = await scored_ad(
            services,
            key,
            response.body["revision"],
            committed,
            within_s=wait_s,
            read_first=response.pending is None,
        )
    if ad is None:
        return _accepted(response)
    return Response(ad, media_type="application/json", headers=_headers(response))


async def accept_and_publish(services: Services, request: AcceptRequest) -> AcceptResponse:
    """Accept an event and publish its record to Kafka."""
    response = await accept(services, request)
    if response.pending is not None:
        response.body["published"] = await services.outbox.publish(response.pending)
    return response


async def scored_ad(
    services: Services,
    key: AdKey,
    revision: int,
    committed: asyncio.Event,
    *,
    within_s: float,
    read_first: bool,
) -> bytes | None:
    """Wait until this revision, or a higher one, is committed, and return the ad's JSON.

    Args:
        committed: the event of `CommitWatch.expect`.
        within_s: seconds to wait at most.
        read_first: read the ad before waiting: the revision may be committed already.

    Returns:
        None if it is not committed in time, the ad can't be read, or the server stops; it is
        accepted nevertheless.
    """
    try:
        if read_first and (ad := await _committed(services, key, revision)) is not None:
            return ad
        try:
            async with asyncio.timeout(within_s):
                while not services.commits.stopping:
                    await committed.wait()
                    committed.clear()
                    if (ad := await _committed(services, key, revision)) is not None:
                        return ad
                return None
        except TimeoutError:  # the commit notice may have been lost
            return await _committed(services, key, revision)
    except RetryableError as error:
        log.warning("an accepted ad could not be read: %s", error)
        return None


async def _committed(services: Services, key: AdKey, revision: int) -> bytes | None:
    text = await read_ad_json(services, key)
    ad = {} if text is None else json.loads(text)
    done = ad.get("run") is not None and ad["status"] != "received" and ad["revision"] >= revision
    return text if done else None


def _headers(response: AcceptResponse) -> dict[str, str]:
    headers = {"Location": response.body["links"]["self"]}
    if response.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _accepted(response: AcceptResponse) -> Response:
    return Response(
        json.dumps(response.body, ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=response.status,
        headers=_headers(response),
        media_type="application/json",
    )
