"""Which ads the finder of duplicates looks at next: those that commits queue, and those it lacks.

Owns whether commits queue ads at all: while `duplicate_search` has its row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ops.types import AdKey
from resources.changes.lease import WorkerLease
from resources.postgres.database import Database

LEASE = WorkerLease("ad_pairs", "lalafo.ad_pairs")
"""Of who finds duplicates."""

LOCK_TIMEOUT = "300ms"
VECTORS_WITHIN_S = 5.0
"""How long a change waits until the indexer has renewed the vectors of all ads before it. Of two
ads that come together, one is searched for after the other can be found."""

CHUNK_ADS = 2_000

Cursor = psycopg.Cursor[Any]

_READY = """
    SELECT id, catalog, ad_id FROM lalafo.duplicate_changes
    WHERE queued_at < clock_timestamp() - %(within_s)s * interval '1 second'
    OR queued_at < coalesce(
        (SELECT queued_at FROM lalafo.vector_changes ORDER BY id LIMIT 1), 'infinity')
    ORDER BY id LIMIT %(limit)s"""
# Of the ads from a key on, in the order of the keys; those that were requeued come again.
_NEXT = """
    SELECT a.catalog, a.ad_id, CASE
        WHEN a.status = 'received' THEN false
        WHEN a.status = 'deleted' THEN EXISTS (SELECT FROM lalafo.compared_ads AS c
            WHERE c.catalog = a.catalog AND c.ad_id = a.ad_id)
        ELSE NOT EXISTS (SELECT FROM lalafo.compared_ads AS c WHERE c.catalog = a.catalog
            AND c.ad_id = a.ad_id AND c.revision = a.revision AND c.version = %(version)s) END
    FROM lalafo.ads AS a WHERE (a.catalog, a.ad_id) > (%(catalog)s::text, %(ad_id)s::text)
    ORDER BY a.catalog, a.ad_id LIMIT %(limit)s"""
_QUEUE = """
    INSERT INTO lalafo.duplicate_changes (catalog, ad_id)
    SELECT %s, ad_id FROM unnest(%s::text[]) AS given (ad_id)"""

_REMOVE = (
    "DELETE FROM lalafo.duplicate_changes WHERE id = ANY(%s) "
    "RETURNING extract(epoch FROM clock_timestamp() - queued_at)::float8"
)


@dataclass(frozen=True, slots=True)
class Change:
    """An ad to look at, and its rows in the queue."""

    key: AdKey
    rows: tuple[int, ...] = ()


def start(database: Database, epoch: int) -> None:
    """Let commits queue their ads from now on; a repeated call does nothing.

    Holds the row of the active releases, as every commit does: each commit has either ended before,
    and the ad is among those that are missing, or queues its ads.

    Raises:
        LeaseLostError: another finder has the lease.
    """
    with database.cursor() as cursor:
        cursor.execute("SELECT FROM lalafo.duplicate_search")
        if cursor.rowcount == 1:
            return
    with database.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        LEASE.check(cursor, epoch)
        cursor.execute("SELECT FROM lalafo.active_releases FOR UPDATE")
        cursor.execute("INSERT INTO lalafo.duplicate_search DEFAULT VALUES ON CONFLICT DO NOTHING")


def stop(database: Database) -> bool:
    """Queue no more ads, and empty the queue; return whether there was anything to stop.

    What was found stays, and is brought up to date by the next finder.
    """
    with database.cursor() as cursor:
        cursor.execute("DELETE FROM lalafo.duplicate_search")
        stopped = cursor.rowcount == 1
        if stopped:
            cursor.execute("DELETE FROM lalafo.duplicate_changes")
        return stopped


def next_changes(cursor: Cursor, *, limit: int) -> list[Change]:
    """The next queued ads, each once, the longest queued first; their rows stay in the queue."""
    rows: dict[AdKey, list[int]] = {}
    cursor.execute(_READY, {"within_s": VECTORS_WITHIN_S, "limit": limit})
    for id_, catalog, ad_id in cursor.fetchall():
        rows.setdefault(AdKey(catalog, ad_id), []).append(id_)
    return [Change(key, tuple(ids)) for key, ids in rows.items()]


def next_missing(
    cursor: Cursor, after: AdKey, *, version: int, limit: int = CHUNK_ADS
) -> tuple[list[Change], AdKey | None]:
    """The ads among the next ones in the order of their keys that were not looked at as they are
    now, and the last key of them all; None: there is no ad after `after`.

    Args:
        version: of the comparison; ads that another one looked at are missing too.
    """
    values = {"catalog": after.catalog, "ad_id": after.ad_id, "version": version, "limit": limit}
    rows = cursor.execute(_NEXT, values).fetchall()
    missing = [Change(AdKey(catalog, ad_id)) for catalog, ad_id, is_missing in rows if is_missing]
    return missing, AdKey(rows[-1][0], rows[-1][1]) if rows else None


def queue(cursor: Cursor, catalog: str, ad_ids: Sequence[str]) -> None:
    """Queue ads to be looked at again."""
    cursor.execute(_QUEUE, (catalog, list(ad_ids)))


def remove(cursor: Cursor, rows: Sequence[int]) -> list[float]:
    """Remove rows of the queue; return the seconds that each has waited. One that is gone already
    does no harm."""
    cursor.execute(_REMOVE, (list(rows),))
    return [waited_s for (waited_s,) in cursor]


def waits(cursor: Cursor) -> bool:
    """Whether anything is queued."""
    cursor.execute("SELECT EXISTS (SELECT FROM lalafo.duplicate_changes)")
    return bool(cursor.fetchall()[0][0])
