"""Accepts what a caller means: a row of `accepted_ads` and what the topic is owed, or neither.

Decides which revision counts, which request is a repeat, and what is refused; one statement where
nothing stands in the way. Refuses to know HTTP beyond its problems, and how Kafka is reached.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import psycopg

from gateway.backends.outbox import PendingRecord
from gateway.intake.event import check_size, content_digest
from gateway.intake.statements import (
    ACCEPT,
    ACCEPT_WITH_UPLOADS,
    KEEP_ANSWER,
    ExistingState,
    read_existing_state,
)
from gateway.intake.uploads import Upload
from gateway.problems import Problem, unavailable
from gateway.schemas.links import ad_links
from gateway.services import Services
from ops.events.parse import MAX_REVISION
from ops.events.serialize import event_json
from ops.types import AdEvent

ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """What is to be accepted, for whom.

    Args:
        event: judged; its revision is the caller's, or a first guess where `revision_given` is
            false.
        idempotency_key: the caller's own name for the request.
        uploads: photos that came along, already in the store.
    """

    event: AdEvent
    revision_given: bool
    by: str
    idempotency_key: str | None = None
    uploads: Sequence[Upload] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was decided. `pending`: what to publish now; None where nothing new was accepted."""

    status: int
    body: dict[str, Any]
    pending: PendingRecord | None = None
    replayed: bool = False


def first_revision() -> int:
    """A revision for a caller who has none: microseconds since the epoch."""
    return time.time_ns() // 1_000


async def accept(services: Services, request: AcceptRequest) -> Answer:
    """Accept it, or find that it was accepted before.

    Raises:
        Problem: another request has the revision or the key, or a photo is not known.
        RetryableError: PostgreSQL is away; nothing was accepted.
    """
    topic = services.settings.ads_topic
    async with services.database.connection() as connection:
        for _ in range(ATTEMPTS):
            answer = await _accepted(connection, request, topic)
            if answer is None:
                existing = await read_existing_state(
                    connection, request.event, topic, request.by, request.idempotency_key
                )
                answer = _found(request, existing)
                if answer is not None and not answer.replayed:
                    await _keep(connection, request, answer)
            if answer is not None:
                return answer
            request = _next(request, existing)
    raise unavailable("a place in the queue of this ad")  # so many others accept it at this moment


async def _accepted(
    connection: psycopg.AsyncConnection, request: AcceptRequest, topic: str
) -> Answer | None:
    """The answer, if nothing stood in the way."""
    event = request.event
    value = event_json(event)
    check_size(event, value)
    key = str(event.key).encode()
    body = _body(event, event.revision, published=False)
    uploaded = {upload.digest: upload.size for upload in request.uploads}
    given = {
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
    }
    statement = ACCEPT
    if uploaded:
        statement = ACCEPT_WITH_UPLOADS
        given["digests"], given["sizes"] = list(uploaded), list(uploaded.values())
    try:
        found = await connection.execute(statement, given, prepare=True)
        row = await found.fetchone()
    except psycopg.errors.UniqueViolation:  # the same Idempotency-Key, at this moment
        return None
    return None if row is None else Answer(202, body, PendingRecord(int(row[0]), topic, key, value))


def _found(request: AcceptRequest, existing: ExistingState) -> Answer | None:
    """The answer, by what was there before; None where the next attempt may succeed."""
    if existing.request is not None:
        if existing.request != _digest(request):
            raise Problem(
                422,
                "idempotency_key_reused",
                "this Idempotency-Key came before, with another request: take a new one for each",
            )
        status, body = existing.answer
        return Answer(status, {**body, "published": not existing.pending}, replayed=True)
    if existing.unknown:
        raise Problem(
            422,
            "unknown_photo",
            f"{len(existing.unknown)} of the photos are not known by their SHA-256: send their "
            "bytes by POST /v1/photos first, or with the ad",
            sha256=[digest.hex() for digest in existing.unknown],
        )
    revision, known = request.event.revision, existing.revision
    if not request.revision_given:
        if known == MAX_REVISION:
            raise _taken(known)
        return None
    if revision < known:
        return Answer(200, {**_body(request.event, known), "state": "superseded"})
    if revision > known:
        return None
    if existing.digest != content_digest(request.event):
        raise _taken(known)
    return Answer(202, _body(request.event, known, published=not existing.pending))


def _next(request: AcceptRequest, existing: ExistingState) -> AcceptRequest:
    if request.revision_given:
        return request
    revision = max(existing.revision + 1, request.event.revision)
    return replace(request, event=replace(request.event, revision=revision))


def _taken(revision: int) -> Problem:
    return Problem(
        409,
        "revision_taken",
        f"revision {revision} of this ad was accepted with other content: send what is new under "
        "a higher one",
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
    """Of the request, for its Idempotency-Key."""
    event = request.event
    revision = event.revision if request.revision_given else None
    said = json.dumps([event.key.catalog, event.key.ad_id, revision]).encode()
    return sha256(content_digest(event) + said).digest()


async def _keep(
    connection: psycopg.AsyncConnection, request: AcceptRequest, answer: Answer
) -> None:
    if request.idempotency_key is not None:
        given = (
            request.by,
            request.idempotency_key,
            _digest(request),
            json.dumps([answer.status, answer.body]),
        )
        await connection.execute(KEEP_ANSWER, given)
