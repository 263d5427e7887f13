"""The statements that accept an ad, and that find what stood in the way.

Decides how both become one round trip each. A statement is a transaction: an ad's row, its record
for the topic and the answer to its Idempotency-Key are there together or not at all.
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

# Two at once: the second waits for the first's row, or for its Idempotency-Key, and then finds that
# it was second: no row, or a unique violation that takes the whole statement back.
_TAKEN = f"""
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
        accepted_at = excluded.accepted_at
    WHERE a.revision < excluded.revision
    RETURNING 1
), answered AS (
    INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer)
    SELECT %(by)s, %(idempotency_key)s::text, %(request)s::bytea, %(answer)s::jsonb
    FROM taken WHERE %(idempotency_key)s::text IS NOT NULL
)
"""
_OWED = """
INSERT INTO lalafo.outbox (topic, key, value)
SELECT %(topic)s, %(key)s, %(value)s FROM taken RETURNING id
"""
# Whatever becomes of the ad: the bytes are in the store, and by this row upkeep finds them.
_UPLOADS = """
uploaded AS (
    INSERT INTO lalafo.uploads (sha256, bytes, uploaded_by)
    SELECT n.sha256, n.bytes, %(by)s
    FROM unnest(%(digests)s::bytea[], %(sizes)s::bigint[]) AS n (sha256, bytes) ORDER BY 1
    ON CONFLICT (sha256) DO UPDATE SET uploaded_at = now()
)
"""

ACCEPT = f"WITH {_TAKEN} {_OWED}"
ACCEPT_WITH_UPLOADS = f"WITH {_UPLOADS}, {_TAKEN} {_OWED}"

KEEP_ANSWER = """
INSERT INTO lalafo.idempotency_keys (api_key, idempotency_key, digest, answer)
VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING
"""

_HELD = f"""
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
SELECT revision, status, title, description, category, price, currency, event_id, occurred_at,
    ARRAY(SELECT p.url FROM lalafo.ad_photos AS p
        WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id ORDER BY p.position),
    ARRAY(SELECT p.sha256 FROM lalafo.ad_photos AS p
        WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id ORDER BY p.position)
FROM lalafo.ads AS a WHERE a.catalog = %s AND a.ad_id = %s
"""


@dataclass(frozen=True, slots=True)
class ExistingState:
    """What is known already of an ad and of a request.

    `revision`: the highest, -1 where there is none; `digest`: what that revision means, None where
    that can't be told any more. `request`, `answer`: of the Idempotency-Key, where it came before.
    `unknown`: photos that the ad names and nobody has. `pending`: whether the topic still is.
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
    """What is known of an event's ad. RetryableError where PostgreSQL is away."""
    given = {
        "catalog": event.key.catalog,
        "ad_id": event.key.ad_id,
        "named": [photo.sha256 for photo in event.photos if photo.sha256 is not None],
        "by": by,
        "idempotency_key": idempotency_key,
        "topic": topic,
        "key": str(event.key).encode(),
    }
    found = await (await connection.execute(_HELD, given)).fetchone()
    assert found is not None  # a row is always there
    accepted, digest, committed, request, answer, unknown, pending = found
    revision = max(-1 if r is None else int(r) for r in (accepted, committed))
    if revision != accepted:  # its row of `accepted_ads` has gone, or never was
        stored = await _read_committed(connection, event.key)
        digest = None if stored is None or stored.revision != revision else content_digest(stored)
    return ExistingState(revision, digest, request, tuple(answer or (0, {})), unknown, pending)


async def read_known(
    connection: psycopg.AsyncConnection, key: AdKey, settings: Settings
) -> AdEvent | None:
    """The highest revision that is known of an ad, as an event; None where there is no ad."""
    given = (key.catalog, key.ad_id)
    accepted = await (await connection.execute(_ACCEPTED, given)).fetchone()
    if accepted is not None:
        value = json.dumps(accepted[0]).encode()
        return parse_event(
            StreamRecord(settings.ads_topic, 0, 0, 0, None, value), settings.event_limits
        )
    return await _read_committed(connection, key)


async def _read_committed(connection: psycopg.AsyncConnection, key: AdKey) -> AdEvent | None:
    """What is committed of an ad, by its own rows. A photo that was named by its SHA-256, and
    never known, is PhotoRef()."""
    found = await (await connection.execute(_COMMITTED, (key.catalog, key.ad_id))).fetchone()
    if found is None:
        return None
    revision, status, title, description, category, price, currency, event_id, at, *photos = found
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
        photos=refs if kind is EventKind.UPSERTED else (),
    )
