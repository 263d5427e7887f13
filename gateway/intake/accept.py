"""Accepting an ad: one transaction writes its row in `accepted_ads` and its record in the outbox.

Owns which revision wins, which request is a repeat, and what is refused. A new ad takes a single
statement. Does not depend on HTTP, except for its problems, or on Kafka.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import psycopg

from gateway.backends.connections import repeated_once
from gateway.backends.outbox import PendingRecord
from gateway.edge.tracing import traceparent
from gateway.intake.event import check_size, content_digest
from gateway.intake.statements import (
    ACCEPT,
    ACCEPT_WITH_UPLOADS,
    STORE_RESPONSE,
    ExistingState,
    read_existing_state,
)
from gateway.problems import Problem, unavailable
from gateway.schemas.links import ad_links
from gateway.services import Services
from gateway.uploads import Upload
from ops.events.fields import MAX_ASSIGNED_REVISION
from ops.events.serialize import event_json
from ops.types import AdEvent

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """A validated event to accept.

    Args:
        event: its revision is the caller's, or a first guess if `revision_given` is false.
        by: the id of the caller's API key.
        idempotency_key: the request's Idempotency-Key.
        uploads: the photos that were sent with the request; they are in the store already.
    """

    event: AdEvent
    revision_given: bool
    by: str
    idempotency_key: str | None = None
    uploads: Sequence[Upload] = ()


@dataclass(frozen=True, slots=True)
class AcceptResponse:
    """The response. `pending`: the record to publish now; None if nothing new was accepted."""

    status: int
    body: dict[str, Any]
    pending: PendingRecord | None = None
    replayed: bool = False


def first_revision() -> int:
    """The first guess of a revision that the gateway assigns: microseconds since the epoch."""
    return time.time_ns() // 1_000


@repeated_once(repeatable=True)
async def accept(services: Services, request: AcceptRequest) -> AcceptResponse:
    """Accept the event, or find that it was accepted before.

    Raises:
        Problem: another request has used the revision or the Idempotency-Key, or a photo is
            unknown.
        RetryableError: PostgreSQL is unavailable; nothing was accepted.
    """
    topic = services.settings.ads_topic
    async with services.database.connection() as connection:
        for _ in range(ATTEMPTS):
            response = await _try_accept(connection, request, topic)
            if response is None:
                existing = await read_existing_state(
                    connection, request.event, topic, request.by, request.idempotency_key
                )
                response = _response_for(request, existing)
                if response is not None and not response.replayed:
                    await _store_response(connection, request, response)
            if response is not None:
                return response
            request = _next_attempt(request, existing)
    raise unavailable("a free revision of this ad")  # too many concurrent requests for one ad


async def _try_accept(
    connection: psycopg.AsyncConnection, request: AcceptRequest, topic: str
) -> AcceptResponse | None:
    """Insert the ad and its outbox record; None if an existing row prevented it."""
    event = request.event
    value = event_json(event)
    check_size(event, value)
    key = str(event.key).encode()
    body = _body(event, event.revision, published=False)
    uploaded = {upload.digest: upload.size for upload in request.uploads}
    values = {
        "catalog": event.key.catalog,
        "ad_id": event.key.ad_id,
        "revision": event.revision,
        "event": value.decode(),
        "digest": content_digest(event),
        "by": request.by,
        "idempotency_key": request.idempotency_key,
        "request": None if request.idempotency_key is None else _digest(request),
        "answer": None if request.idempotency_key is None else json.dumps([202, body]),
        "named": [p.sha256 for p in event.photos if p.sha256 and p.sha256 not in uploaded],
        "topic": topic,
        "key": key,
        "value": value,
        "traceparent": traceparent.get(),
    }
    statement = ACCEPT
    if uploaded:
        statement = ACCEPT_WITH_UPLOADS
        values["digests"], values["sizes"] = list(uploaded), list(uploaded.values())
    try:
        cursor = await connection.execute(statement, values, prepare=True)
        row = await cursor.fetchone()
    except psycopg.errors.UniqueViolation:  # a concurrent request with the same Idempotency-Key
        return None
    if row is None:
        return None
    return AcceptResponse(
        202, body, PendingRecord(int(row[0]), topic, key, value, traceparent.get())
    )


def _response_for(request: AcceptRequest, existing: ExistingState) -> AcceptResponse | None:
    """The response that follows from the existing rows; None if another attempt may succeed."""
    if existing.request is not None:
        if existing.request != _digest(request):
            raise key_reused()
        status, stored = existing.answer
        # PostgreSQL's jsonb does not keep the order of the fields.
        body = {name: stored[name] for name in _body(request.event, 0) if name in stored}
        body |= {"published": not existing.pending, "links": ad_links(request.event.key)}
        return AcceptResponse(status, body, replayed=True)
    if existing.unknown:
        raise Problem(
            422,
            "unknown_photo",
            f"{len(existing.unknown)} of the photos are unknown by their SHA-256: upload them with "
            "POST /v1/photos first, or send them with the ad",
            sha256=[digest.hex() for digest in existing.unknown],
        )
    revision, known = request.event.revision, existing.revision
    if not request.revision_given:
        if revision == known and existing.digest == content_digest(request.event):
            # This request's own earlier attempt: it was committed, and its answer was lost.
            return AcceptResponse(202, _body(request.event, known, published=not existing.pending))
        if known == MAX_ASSIGNED_REVISION:
            raise _revision_taken(known)
        return None
    if revision < known:
        return AcceptResponse(200, {**_body(request.event, known), "state": "superseded"})
    if revision > known:
        return None
    if existing.digest != content_digest(request.event):
        raise _revision_taken(known)
    return AcceptResponse(202, _body(request.event, known, published=not existing.pending))


def _next_attempt(request: AcceptRequest, existing: ExistingState) -> AcceptRequest:
    if request.revision_given:
        return request
    revision = max(existing.revision + 1, request.event.revision)
    return replace(request, event=replace(request.event, revision=revision))


def key_reused() -> Problem:
    """422: the Idempotency-Key belongs to another request."""
    return Problem(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used with another request: use a new one per request",
    )


def _revision_taken(revision: int) -> Problem:
    return Problem(
        409,
        "revision_taken",
        f"revision {revision} of this ad was accepted with other content: send the new content "
        "with a higher revision",
        known_revision=revision,
    )


def _body(event: AdEvent, known: int, *, published: bool = True) -> dict[str, Any]:
    return {
        "catalog": event.key.catalog,
        "ad_id": event.key.ad_id,
        "revision": event.revision,
        "state": "accepted",
        "known_revision": known,
        "published": published,
        "links": ad_links(event.key),
    }


def _digest(request: AcceptRequest) -> bytes:
    """SHA-256 of the request, which is stored with its Idempotency-Key."""
    event = request.event
    revision = event.revision if request.revision_given else None
    key = json.dumps([event.key.catalog, event.key.ad_id, revision]).encode()
    return sha256(content_digest(event) + key).digest()


async def _store_response(
    connection: psycopg.AsyncConnection, request: AcceptRequest, response: AcceptResponse
) -> None:
    if request.idempotency_key is not None:
        values = (
            request.by,
            request.idempotency_key,
            _digest(request),
            json.dumps([response.status, response.body]),
        )
        await connection.execute(STORE_RESPONSE, values)
