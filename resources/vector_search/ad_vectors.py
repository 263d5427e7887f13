"""The vectors of ads, from those of their photos: computed, renewed and removed in PostgreSQL.

Owns what an ad's vector is: the mean of the unit vectors of its usable photos, of unit length.
Photos of one colour say nothing, and are left out. An ad without a vector has no row: it has no
usable photo, or only such, a photo is not embedded with the backbone, or the vectors cancel each
other out.
"""

from collections.abc import Sequence
from typing import Any

import psycopg

from resources.changes.lease import WorkerLease
from resources.vector_search.queries import SearchIndex

Cursor = psycopg.Cursor[Any]

LEASE = WorkerLease("ad_vectors", "lalafo.ad_vectors")
"""Of who renews the vectors."""

# In single precision: half precision would round the mean before it is normalised.
_VECTORS = """
    SELECT %(backbone)s::text, a.catalog, a.ad_id, a.revision, a.category, a.price, a.currency,
        a.seller, a.received_at, m.vector
    FROM unnest(%(catalogs)s::text[], %(ad_ids)s::text[]) AS k (catalog, ad_id)
    JOIN lalafo.ads AS a USING (catalog, ad_id)
    CROSS JOIN LATERAL (
        SELECT l2_normalize(avg(e.embedding::vector))::halfvec AS vector,
            count(*) = count(e.embedding) AS complete
        FROM lalafo.ad_photos AS p JOIN lalafo.photos AS s USING (sha256)
        LEFT JOIN lalafo.embeddings AS e ON e.backbone = %(backbone)s AND e.sha256 = p.sha256
        WHERE p.catalog = a.catalog AND p.ad_id = a.ad_id
        AND s.note IS DISTINCT FROM 'photo_blank'
    ) AS m
    WHERE a.status = 'scored' AND m.complete AND l2_norm(m.vector) > 0.5"""
_GIVEN = "unnest(%(catalogs)s::text[], %(ad_ids)s::text[]) AS k (catalog, ad_id)"
# A scored revision that is scored again may have other photos; else no row is ever updated.
_RENEW = f"""
    INSERT INTO lalafo.{{partition}} AS held (backbone, catalog, ad_id, revision, category, price,
        currency, seller, received_at, vector) {_VECTORS}
    ON CONFLICT (catalog, ad_id, revision, backbone) DO UPDATE SET vector = EXCLUDED.vector
    WHERE held.vector <> EXCLUDED.vector"""
_FORGET = f"""
    DELETE FROM lalafo.{{partition}} AS v USING {_GIVEN}
    WHERE v.catalog = k.catalog AND v.ad_id = k.ad_id AND NOT EXISTS (
        SELECT FROM lalafo.ads AS a WHERE a.catalog = v.catalog AND a.ad_id = v.ad_id
        AND a.revision = v.revision AND a.status = 'scored')"""
# Of the ads from a key on, in the order of the keys.
_NEXT_KEYS = (
    "SELECT a.catalog, a.ad_id, NOT EXISTS (SELECT FROM lalafo.{partition} AS v "
    "WHERE v.catalog = a.catalog AND v.ad_id = a.ad_id AND v.revision = a.revision) "
    "FROM lalafo.ads AS a WHERE (a.catalog, a.ad_id) > (%(catalog)s::text, %(ad_id)s::text) "
    "AND a.status = 'scored' ORDER BY a.catalog, a.ad_id LIMIT %(limit)s"
)
_REMOVE_STALE = """
    DELETE FROM lalafo.{partition} WHERE ctid = ANY(ARRAY(SELECT v.ctid
        FROM lalafo.{partition} AS v LEFT JOIN lalafo.ads AS a ON a.catalog = v.catalog
        AND a.ad_id = v.ad_id AND a.revision = v.revision AND a.status = 'scored'
        WHERE a.revision IS NULL LIMIT %(limit)s))"""
_TAKE = (
    "DELETE FROM lalafo.vector_changes WHERE id = ANY(ARRAY(SELECT id FROM lalafo.vector_changes "
    "ORDER BY id LIMIT %s)) RETURNING catalog, ad_id, "
    "extract(epoch FROM clock_timestamp() - queued_at)::float8"
)
_INDEXES = "SELECT backbone, dimension, partition, state FROM lalafo.vector_indexes"


def read_indexes(cursor: Cursor) -> list[SearchIndex]:
    """Return every index, also one that is being built."""
    return [SearchIndex(*row) for row in cursor.execute(_INDEXES).fetchall()]


def follow(cursor: Cursor, epoch: int, *, limit: int) -> list[float]:
    """Renew the vectors of the next queued ads, in the caller's transaction.

    The ads are read after their rows of the queue are deleted: a commit that comes later queues
    them again. Repeated, it changes nothing.

    Returns:
        The seconds since the commits of the rows taken from the queue; []: it is empty.

    Raises:
        LeaseLostError: another indexer has the lease; the caller rolls back.
    """
    LEASE.check(cursor, epoch)
    taken = cursor.execute(_TAKE, (limit,)).fetchall()
    if taken:
        keys = sorted({(catalog, ad_id) for catalog, ad_id, _ in taken})
        for index in read_indexes(cursor):
            if index.state != "building":
                renew(cursor, index, keys)
    return [waited_s for _, _, waited_s in taken]


def renew(cursor: Cursor, index: SearchIndex, keys: Sequence[tuple[str, str]]) -> None:
    """Make the rows of these ads what the tables say now: one, or none."""
    values = {
        "backbone": index.backbone,
        "catalogs": [catalog for catalog, _ in keys],
        "ad_ids": [ad_id for _, ad_id in keys],
    }
    cursor.execute(_FORGET.format(partition=index.partition), values)
    cursor.execute(_RENEW.format(partition=index.partition), values)


def add_missing(
    cursor: Cursor, index: SearchIndex, after: tuple[str, str], *, limit: int
) -> tuple[str, str] | None:
    """Add the rows that are missing among the next ads in the order of their keys.

    Returns:
        The last ad that was looked at; None: there is none after `after`.
    """
    values: dict[str, Any] = {"catalog": after[0], "ad_id": after[1], "limit": limit}
    rows = cursor.execute(_NEXT_KEYS.format(partition=index.partition), values).fetchall()
    missing = [(catalog, ad_id) for catalog, ad_id, is_missing in rows if is_missing]
    if missing:
        renew(cursor, index, missing)
    return (rows[-1][0], rows[-1][1]) if rows else None


def remove_stale(cursor: Cursor, index: SearchIndex, *, limit: int) -> int:
    """Delete rows that are of no ad's present revision; return how many, at most `limit`.

    No search finds them. The indexer deletes those of the ads that it renews.
    """
    cursor.execute(_REMOVE_STALE.format(partition=index.partition), {"limit": limit})
    return cursor.rowcount
