"""Summaries of ads that a search has found: title, price, category, the photo to show."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from gateway.schemas.links import ad_links
from ops.types import AdKey

Connection = psycopg.AsyncConnection[Any]

_ADS = """
    SELECT a.catalog, a.ad_id, a.title, a.category, a.price::text, a.currency, a.seller,
        a.received_at,
        coalesce(predicted.best, (SELECT encode(p.sha256, 'hex') FROM lalafo.ad_photos AS p
            WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.sha256 IS NOT NULL
            ORDER BY p.position LIMIT 1)),
        predicted.answers
    FROM unnest(%(catalogs)s::text[], %(ad_ids)s::text[], %(revisions)s::bigint[])
        AS k (catalog, ad_id, revision)
    JOIN lalafo.ads AS a USING (catalog, ad_id, revision)
    LEFT JOIN LATERAL (
        SELECT json_object_agg(p.task, json_build_object('label', p.label, 'score', p.score))
                AS answers, min(p.details->'best'->>'sha256') AS best
        FROM lalafo.predictions AS p
        WHERE p.release = (SELECT live FROM lalafo.active_releases)
            AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.revision = a.revision
    ) AS predicted ON true
    WHERE a.status = 'scored'"""


async def ad_summaries(
    connection: Connection, found: Sequence[tuple[AdKey, int]]
) -> Mapping[AdKey, dict[str, Any]]:
    """The fields of `schemas.similar.FoundAd`; without ads that have another revision by now.

    Args:
        found: each ad and its revision.
    """
    values = {
        "catalogs": [key.catalog for key, _ in found],
        "ad_ids": [key.ad_id for key, _ in found],
        "revisions": [revision for _, revision in found],
    }
    rows = await (await connection.execute(_ADS, values)).fetchall()
    known = {AdKey(row[0], row[1]): row[2:] for row in rows}
    return {
        key: {
            **{"catalog": key.catalog, "ad_id": key.ad_id, "revision": revision},
            **{"title": title, "category": category, "price": price, "currency": currency},
            **{"seller": seller, "received_at": received_at.isoformat(), "sha256": sha256},
            "predictions": predictions or {},
            "links": ad_links(key),
        }
        for key, revision in found
        if key in known
        for title, category, price, currency, seller, received_at, sha256, predictions in [
            known[key]
        ]
    }
