"""Reading one ad with a single statement: what is committed, and what is accepted and pending.

Combines `ads`, which sessions write, with `accepted_ads`, which the gateway writes. PostgreSQL
builds the JSON. Every table is looked up by its primary key, so
the cost does not depend on the catalogue's size. One statement sees one snapshot, so all
predictions belong to the release that is live in it.
"""

import json
import re
from typing import Any

import psycopg
from pydantic_core import from_json, to_json

from gateway.backends.connections import repeated_once
from gateway.backends.notices import DRAWN_ONLY
from gateway.schemas.links import ad_path, release_page, run_prefix
from gateway.services import Services
from ops.types import AdKey

_PHOTOS = """
    SELECT json_agg(json_build_object(
        'position', p.position,
        'status', CASE WHEN p.sha256 IS NULL THEN 'failed' ELSE 'ok' END,
        'url', p.url,
        'sha256', encode(p.sha256, 'hex'),
        'width', s.width,
        'height', s.height,
        'reason', p.reason,
        'detail', f.detail,
        'note', s.note,
        'image', '/v1/photos/' || encode(p.sha256, 'hex')
    ) ORDER BY p.position)
    FROM lalafo.ad_photos AS p
    LEFT JOIN lalafo.photos AS s ON s.sha256 = p.sha256
    LEFT JOIN lalafo.failures AS f ON p.sha256 IS NULL AND f.kind = 'photo'
        AND f.subject = p.catalog || '/' || p.ad_id || '#' || p.position
    WHERE p.catalog = k.catalog AND p.ad_id = k.ad_id AND a.status <> 'deleted'
"""

# The photos of an ad that no session has committed yet, from its event.
_PHOTOS_TO_COME = """
    SELECT json_agg(json_build_object(
        'position', e.number - 1,
        'status', 'waiting',
        'url', e.photo ->> 'url',
        'sha256', e.photo ->> 'sha256',
        'width', NULL, 'height', NULL, 'reason', NULL, 'detail', NULL, 'note', NULL, 'image', NULL
    ) ORDER BY e.number)
    FROM jsonb_array_elements(w.event -> 'photos') WITH ORDINALITY AS e (photo, number)
"""

# A re-score may have left predictions of a revision that has been superseded since.
_PREDICTIONS = f"""
    SELECT json_object_agg(p.task, json_build_object(
        'task', p.task,
        'label', p.label,
        'score', p.score,
        'details', p.details,
        'path', coalesce(p.details -> 'path', jsonb_build_array(p.label)),
        'revision', p.revision,
        'release', json_build_object('id', p.release, 'url', k.releases, 'drawn_only',
            (SELECT {DRAWN_ONLY.format("r.manifest")}
                FROM lalafo.releases AS r WHERE r.name = p.release)),
        'run', json_build_object('id', p.run_id, 'url', k.runs || p.run_id),
        'scored_at', p.scored_at
    ))
    FROM lalafo.predictions_with_details AS p
    WHERE p.release = (SELECT live FROM lalafo.active_releases)
        AND p.catalog = k.catalog AND p.ad_id = k.ad_id
        AND p.revision = a.revision AND a.status <> 'deleted'
"""

_LABELS = """
    SELECT json_object_agg(l.task, json_build_object(
        'label', l.label, 'given_by', l.given_by, 'given_at', l.given_at
    ))
    FROM lalafo.labels AS l WHERE l.catalog = k.catalog AND l.ad_id = k.ad_id
"""

_TIMINGS = """
    SELECT json_build_object(
        'kafka_at', t.kafka_at,
        'polled_at', t.polled_at,
        'committed_at', t.committed_at,
        'total_ms', round(extract(epoch FROM t.committed_at - t.kafka_at) * 1000, 3),
        'fetch_ms', round(t.fetch_ms::numeric, 3),
        'photos_ms', round(t.photos_ms::numeric, 3),
        'queued_ms', round(t.queued_ms::numeric, 3),
        'embed_ms', round(t.embed_ms::numeric, 3),
        'predict_ms', round(t.predict_ms::numeric, 3),
        'waited_for_session', t.waited_for_session
    )
    FROM lalafo.stage_timings AS t
    WHERE t.catalog = k.catalog AND t.ad_id = k.ad_id AND t.revision = a.revision
"""

_READ_AD = f"""
    SELECT json_build_object(
        'catalog', k.catalog,
        'ad_id', k.ad_id,
        'revision', coalesce(a.revision, w.revision),
        'status', coalesce(a.status, 'received'),
        'day', a.day,
        'title', coalesce(a.title, w.event ->> 'title', ''),
        'description', coalesce(a.description, w.event ->> 'description', ''),
        'category', CASE WHEN a.revision IS NULL THEN w.event ->> 'category' ELSE a.category END,
        'price', CASE WHEN a.revision IS NULL THEN w.event ->> 'price' ELSE a.price::text END,
        'currency', CASE WHEN a.revision IS NULL THEN w.event ->> 'currency' ELSE a.currency END,
        'seller', CASE WHEN a.revision IS NULL THEN w.event ->> 'seller' ELSE a.seller END,
        'attributes', coalesce(CASE WHEN a.revision IS NULL THEN w.event -> 'attributes'
            ELSE a.attributes END, '{{}}'),
        'received_at', coalesce(a.received_at, w.accepted_at),
        'photos', coalesce(
            CASE WHEN a.revision IS NULL THEN ({_PHOTOS_TO_COME}) ELSE ({_PHOTOS}) END, '[]'
        ),
        'predictions', coalesce(({_PREDICTIONS}), '{{}}'),
        'labels', coalesce(({_LABELS}), '{{}}'),
        'timings', ({_TIMINGS}),
        'run', CASE WHEN a.revision IS NOT NULL THEN
            json_build_object('id', a.run_id, 'url', k.runs || a.run_id) END,
        'waiting', CASE WHEN w.revision IS NOT NULL THEN json_build_object(
            'revision', w.revision, 'kind', w.event ->> 'kind', 'accepted_at', w.accepted_at
        ) END,
        'links', json_build_object('self', k.path, 'feedback', k.path || '/feedback')
    )::text
    FROM (VALUES (
        %(catalog)s::text, %(ad_id)s::text, %(path)s::text, %(runs)s::text, %(releases)s::text
    )) AS k (catalog, ad_id, path, runs, releases)
    LEFT JOIN lalafo.ads AS a ON a.catalog = k.catalog AND a.ad_id = k.ad_id
    LEFT JOIN lalafo.accepted_ads AS w ON w.catalog = k.catalog AND w.ad_id = k.ad_id
        AND w.revision > coalesce(a.revision, -1)
    WHERE a.revision IS NOT NULL OR w.revision IS NOT NULL
"""


def _compact(statement: str) -> str:
    """The statement with the least white space; what is between quotation marks stays as it is."""
    parts = statement.split("'")
    parts[::2] = [re.sub(r"\s+", " ", part).replace(", ", ",") for part in parts[::2]]
    return "'".join(parts)


# Short: psycopg 3.3 parses a statement of more than 4,096 characters again at every call.
READ_AD = _compact(_READ_AD)


def parameters(key: AdKey, dagster_url: str) -> dict[str, str | None]:
    """The parameters of READ_AD."""
    return {
        "catalog": key.catalog,
        "ad_id": key.ad_id,
        "path": ad_path(key),
        "runs": run_prefix(dagster_url),
        "releases": release_page(dagster_url),
    }


@repeated_once(repeatable=True)
async def read_ad_json(services: Services, key: AdKey) -> bytes | None:
    """Read an ad as the JSON of `schemas.ads.AdOut`, in one round trip; None if it is unknown.

    A deleted ad is returned as its tombstone: without photos and predictions.

    Raises:
        RetryableError: PostgreSQL is unavailable.
    """
    values = parameters(key, services.settings.dagster_url)
    async with services.database.connection() as connection:
        row = await _read(connection, values)
    # PostgreSQL writes `"a" : 1` and 0.500; every other answer is written as `"a":1` and 0.5.
    return None if row is None else to_json(from_json(row[0]))


async def read_ad(services: Services, key: AdKey) -> dict[str, Any] | None:
    """Read an ad as an object; a route that sends it unchanged uses `read_ad_json`."""
    text = await read_ad_json(services, key)
    return None if text is None else json.loads(text)


async def _read(
    connection: psycopg.AsyncConnection, values: dict[str, str | None]
) -> tuple[Any, ...] | None:
    cursor = await connection.execute(READ_AD, values, prepare=True)
    return await cursor.fetchone()
