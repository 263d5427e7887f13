"""The statements that accept an ad, and that read the existing rows when accepting fails.

Each is one round trip. Accepting is one statement and thus one transaction: the ad's row, its
outbox record and the response for its Idempotency-Key are written together or not at all.
"""

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from gateway.intake.event import content_digest
from ops.events.parse import parse_event
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord
from resources.settings import Settings

_UNKNOWN = """
    SELECT n.sha256 FROM unnest(%(named)s::bytea[]) AS n (sha256)
    WHERE NOT EXISTS (SELECT FROM lalafo.photos AS p WHERE p.sha256 = n.sha256)
    AND NOT EXISTS (SELECT FROM lalafo.uploads AS u WHERE u.sha256 = n.sha256)
"""

# Of two concurrent statements the second waits for the first one's row or Idempotency-Key. It then
# returns no row, or fails with a unique violation, which rolls the whole statement back.
_INSERT_AD = f"""
taken AS (
    INSERT INTO lalafo.accepted_ads AS a
        (catalog, ad_id, revision, event, digest, accepted_by)
    SELECT %(catalog)s, %(ad_id)s, %(revision)s, %(event)s::jsonb, %(digest)s, %(by)s
    WHERE NOT EXISTS (
        SELECT FROM lalafo.ads AS s WHERE s.catalog = %(catalog)s AND s.ad_id = %(ad_id)s
            AND s.revision >= %(revision)s
    ) AND NOT EXISTS (
        SELECT FROM lalafo.idempotency_keys AS i
        WHERE i.api_key = %(by)s AND i.idempotency_key = %(idempotency_key)s::text
    ) AND NOT EXISTS ({_UNKNOWN})
    ON CONFLICT (catalog, ad_id) DO UPDATE SET revision = excluded.revision,
        event = excluded.event, digest = excluded.digest, accepted_by = excluded.accepted_by,
        accepted_at = excluded.accepted_at, republished = 0, recheck_at = NULL
    WHERE a.revision < excluded.revision
    RETURNING 1
), answered AS (
    INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer)
    SELECT %(by)s, %(idempotency_key)s::text, %(request)s::bytea, %(answer)s::jsonb
    FROM taken WHERE %(idempotency_key)s::text IS NOT NULL
)
"""
_INSERT_RECORD = """
INSERT INTO lalafo.outbox (topic, key, value, traceparent)
SELECT %(topic)s, %(key)s, %(value)s, %(traceparent)s FROM taken RETURNING id
"""
# Written even if the ad is not accepted: the files are in the store, and upkeep finds them by it.
_INSERT_UPLOADS = """
uploaded AS (
    INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by)
    SELECT n.sha256, n.bytes, %(by)s
    FROM unnest(%(digests)s::bytea[], %(sizes)s::bigint[]) AS n (sha256, bytes) ORDER BY 1
    ON CONFLICT (sha256) DO UPDATE SET uploaded_at = now()
)
"""

ACCEPT = f"WITH {_INSERT_AD} {_INSERT_RECORD}"
ACCEPT_WITH_UPLOADS = f"WITH {_INSERT_UPLOADS}, {_INSERT_AD} {_INSERT_RECORD}"

STORE_RESPONSE = """
INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer)
VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""

_EXISTING_STATE = f"""
SELECT w.revision, w.digest, a.revision, i.digest, i.answer,
    ARRAY({_UNKNOWN}),
    EXISTS (SELECT FROM lalafo.outbox AS o WHERE o.topic = %(topic)s AND o.key = %(key)s)
FROM (VALUES (%(catalog)s::text, %(ad_id)s::text)) AS k (catalog, ad_id)
LEFT JOIN lalafo.accepted_ads AS w ON w.catalog = k.catalog AND w.ad_id = k.ad_id
LEFT JOIN lalafo.ads AS a ON a.catalog = k.catalog AND a.ad_id = k.ad_id
LEFT JOIN lalafo.idempotency_keys AS i
    ON i.api_key = %(by)s AND i.idempotency_key = %(idempotency_key)s::text
"""

_ACCEPTED = """
SELECT event FROM lalafo.accepted_ads AS w WHERE catalog = %s AND ad_id = %s AND NOT EXISTS (
    SELECT FROM lalafo.ads AS a
    WHERE a.catalog = w.catalog AND a.ad_id = w.ad_id AND a.revision > w.revision)
"""

_COMMITTED = """
SELECT revision, status, title, description, category, price, currency, seller, attributes,
    event_id, occurred_at,
    ARRAY(SELECT p.url FROM lalafo.ad_photos AS p
        WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id ORDER BY p.position),
    ARRAY(SELECT p.sha256 FROM lalafo.ad_photos AS p
        WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id ORDER BY p.position)
FROM lalafo.ads AS a WHERE a.catalog = %s AND a.ad_id = %s
"""


@dataclass(frozen=True, slots=True)
class ExistingState:
    """The existing rows of an ad and of an Idempotency-Key.

    Args:
        revision: the ad's highest known revision; -1: the ad is unknown.
        digest: the content digest of that revision; None if it can't be determined any more.
        request: the digest of the first request with the Idempotency-Key; None: there is none.
        answer: the status and body of the response to that request.
        unknown: the SHA-256 of photos that the ad names and that are neither stored nor uploaded.
        pending: whether the outbox holds a record of the ad that is not published yet.
    """

    revision: int
    digest: bytes | None
    request: bytes | None
    answer: tuple[int, dict[str, Any]]
    unknown: list[bytes]
    pending: bool


async def read_existing_state(
    connection: psycopg.AsyncConnection,
    event: AdEvent,
    topic: str,
    by: str,
    idempotency_key: str | None,
) -> ExistingState:
    """Read the existing rows of an event's ad and of an Idempotency-Key.

    Raises:
        RetryableError: PostgreSQL is unavailable.
    """
    values = {
        "catalog": event.key.catalog,
        "ad_id": event.key.ad_id,
        "named": [photo.sha256 for photo in event.photos if photo.sha256 is not None],
        "by": by,
        "idempotency_key": idempotency_key,
        "topic": topic,
        "key": str(event.key).encode(),
    }
    row = await (await connection.execute(_EXISTING_STATE, values)).fetchone()
    assert row is not None  # the statement always returns a row
    accepted, digest, committed, request, answer, unknown, pending = row
    revision = max(-1 if r is None else int(r) for r in (accepted, committed))
    if revision != accepted:  # `accepted_ads` has no row of this revision, or no longer has it
        stored = await _read_committed(connection, event.key)
        digest = None if stored is None or stored.revision != revision else content_digest(stored)
    return ExistingState(revision, digest, request, tuple(answer or (0, {})), unknown, pending)


async def read_known(
    connection: psycopg.AsyncConnection, key: AdKey, settings: Settings
) -> AdEvent | None:
    """Read the highest known revision of an ad as an event; None if the ad is unknown."""
    accepted = await (await connection.execute(_ACCEPTED, (key.catalog, key.ad_id))).fetchone()
    if accepted is not None:
        value = json.dumps(accepted[0]).encode()
        return parse_event(
            StreamRecord(settings.ads_topic, 0, 0, 0, None, value), settings.event_limits
        )
    return await _read_committed(connection, key)


async def _read_committed(connection: psycopg.AsyncConnection, key: AdKey) -> AdEvent | None:
    """Rebuild the event of the committed revision from its rows; None if there is none.

    A photo that was named by an unknown SHA-256 becomes PhotoRef().
    """
    row = await (await connection.execute(_COMMITTED, (key.catalog, key.ad_id))).fetchone()
    if row is None:
        return None
    revision, status, title, description, category, price, currency, seller, *rest = row
    attributes, event_id, at, *photos = rest
    refs = tuple(
        PhotoRef(url=url) if url is not None else PhotoRef(sha256=digest)
        for url, digest in zip(*photos, strict=True)
    )
    kind = EventKind.DELETED if status == "deleted" else EventKind.UPSERTED
    return AdEvent(
        key=key,
        kind=kind,
        event_id=event_id,
        revision=revision,
        occurred_at=at,
        title=title,
        description=description,
        category=category,
        price=price,
        currency=currency,
        seller=seller,
        attributes=attributes or {},
        photos=refs if kind is EventKind.UPSERTED else (),
    )
