"""Answers to what was accepted: at once, when Kafka has it, or when it is scored.

Decides that an accepted ad is never answered by an error, whatever goes away while its result is
waited for.
"""

import asyncio
import json
import logging

from fastapi.responses import Response

from gateway.intake.accept import AcceptRequest, Answer, accept
from gateway.reads.ad import read_ad_json
from gateway.services import Services
from ops.errors import RetryableError
from ops.types import AdKey

log = logging.getLogger(__name__)


async def answered(services: Services, request: AcceptRequest, wait_s: float | None) -> Response:
    """Accept it, and answer when it is published, or scored."""
    key = request.event.key
    if wait_s is None:
        return _response(await published(services, request))
    with services.commits.expect(key) as committed:
        answer = await published(services, request)
        if answer.body["state"] == "superseded":
            return _response(answer)
        ad = await scored_ad(
            services,
            key,
            answer.body["revision"],
            committed,
            within_s=wait_s,
            look_first=answer.pending is None,
        )
    if ad is None:
        return _response(answer)
    return Response(ad, media_type="application/json", headers=_headers(answer))


async def published(services: Services, request: AcceptRequest) -> Answer:
    """Accept it, and tell Kafka."""
    answer = await accept(services, request)
    if answer.pending is not None:
        answer.body["published"] = await services.outbox.publish(answer.pending)
    return answer


async def scored_ad(
    services: Services,
    key: AdKey,
    revision: int,
    committed: asyncio.Event,
    *,
    within_s: float,
    look_first: bool,
) -> bytes | None:
    """The ad's JSON once this revision, or a higher one, is committed; None where it is not within
    so many seconds, or can't be read: it is accepted all the same.

    Args:
        look_first: it may be committed already; else only a commit from now on counts.
    """
    try:
        if look_first and (ad := await _committed(services, key, revision)) is not None:
            return ad
        try:
            async with asyncio.timeout(within_s):
                while True:
                    await committed.wait()
                    committed.clear()
                    if (ad := await _committed(services, key, revision)) is not None:
                        return ad
        except TimeoutError:  # its notice may have been lost
            return await _committed(services, key, revision)
    except RetryableError as error:
        log.warning("an accepted ad can't be read: %s", error)
        return None


async def _committed(services: Services, key: AdKey, revision: int) -> bytes | None:
    text = await read_ad_json(services, key)
    ad = {} if text is None else json.loads(text)
    done = ad.get("run") is not None and ad["status"] != "received" and ad["revision"] >= revision
    return text if done else None


def _headers(answer: Answer) -> dict[str, str]:
    headers = {"Location": answer.body["links"]["self"]}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return headers


def _response(answer: Answer) -> Response:
    return Response(
        json.dumps(answer.body, ensure_ascii=False, separators=(",", ":")).encode(),
        status_code=answer.status,
        headers=_headers(answer),
        media_type="application/json",
    )
