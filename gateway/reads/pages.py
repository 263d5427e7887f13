"""Pages of ads and of failures, newest first, by keyset pagination.

A page scans a limited number of rows, so its cost does not depend on its position. Both lists scan
an index from the cursor's position. Filters without an index (status, kind, reason) are applied to
the scanned rows, so a filtered page may contain fewer rows than requested, or none, and still have
a next page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.reads.cursors import cursor_after, position_of
from gateway.schemas.links import ad_links, run_prefix
from ops.types import AdKey

MAX_ROWS = 200  # of one page
MAX_SCANNED_ROWS = 1_000  # that a page with a filter scans

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

# The catalogs that have ads, by a loose index scan: one step in the primary key for each catalog.
_EVERY_CATALOG = """
    walk (catalog) AS (
        (SELECT min(catalog) FROM lalafo.ads)
        UNION ALL
        SELECT (SELECT min(a.catalog) FROM lalafo.ads AS a WHERE a.catalog > walk.catalog)
        FROM walk WHERE walk.catalog IS NOT NULL
    ),
    catalogs (catalog) AS (SELECT catalog FROM walk WHERE catalog IS NOT NULL)"""
_THESE_CATALOGS = "catalogs (catalog) AS (SELECT unnest(%(catalogs)s::text[]))"

# The newest ads of each catalog, and of these the newest overall: the index on (catalog,
# received_at, ad_id) supports both. The cursor's own row is the first in its catalog's scan, and is
# excluded.
_ADS = """
    WITH RECURSIVE {catalogs},
    seen AS MATERIALIZED (
        SELECT a.* FROM catalogs AS c CROSS JOIN LATERAL (
            SELECT a.catalog, a.ad_id, a.received_at, a.revision, a.status, a.title, a.category
            FROM lalafo.ads AS a
            WHERE a.catalog = c.catalog
                AND (a.received_at, a.ad_id) <= (%(at)s::timestamptz, %(ad_id)s::text)
                AND a.received_at >= %(since)s::timestamptz
                AND (c.catalog < %(catalog)s::text
                    OR (a.received_at, a.ad_id) <> (%(at)s::timestamptz, %(ad_id)s::text))
            ORDER BY a.received_at DESC, a.ad_id DESC LIMIT %(seen)s::int
        ) AS a
        ORDER BY a.received_at DESC, a.ad_id DESC, a.catalog DESC LIMIT %(seen)s::int
    ),
    page AS MATERIALIZED (
        SELECT * FROM seen WHERE %(status)s::text IS NULL OR status = %(status)s::text
        ORDER BY received_at DESC, ad_id DESC, catalog DESC LIMIT %(limit)s::int + 1
    )
    SELECT count.seen, last.received_at, last.ad_id, last.catalog,
        page.received_at, page.ad_id, page.catalog, page.revision, page.status, page.title,
        page.category,
        (SELECT encode(p.sha256, 'hex') FROM lalafo.ad_photos AS p
            WHERE p.catalog = page.catalog AND p.ad_id = page.ad_id AND p.sha256 IS NOT NULL
                AND page.status <> 'deleted'
            ORDER BY p.position LIMIT 1),
        (SELECT json_object_agg(p.task, json_build_object('label', p.label, 'score', p.score))
            FROM lalafo.predictions AS p
            WHERE p.release = (SELECT live FROM lalafo.active_releases)
                AND p.catalog = page.catalog AND p.ad_id = page.ad_id
                AND p.revision = page.revision AND page.status <> 'deleted')
    FROM (SELECT count(*) FROM seen) AS count (seen)
    LEFT JOIN (SELECT received_at, ad_id, catalog FROM seen
        ORDER BY received_at, ad_id, catalog LIMIT 1) AS last ON true
    LEFT JOIN page ON true
    ORDER BY page.received_at DESC, page.ad_id DESC, page.catalog DESC
"""

_FAILURE_COLUMNS = "failed_at, kind, subject, reason, detail, catalog, ad_id, url, run_id"
_EVERY_FAILURE = f"""
    SELECT {_FAILURE_COLUMNS} FROM lalafo.failures
    WHERE (failed_at, kind, subject) < (%(at)s::timestamptz, %(from_kind)s::text, %(subject)s::text)
    ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(seen)s::int"""
_FAILURES_OF_CATALOGS = f"""
    SELECT f.* FROM unnest(%(catalogs)s::text[]) AS c (catalog) CROSS JOIN LATERAL (
        SELECT {_FAILURE_COLUMNS} FROM lalafo.failures AS f
        WHERE f.catalog = c.catalog AND (f.failed_at, f.kind, f.subject)
            < (%(at)s::timestamptz, %(from_kind)s::text, %(subject)s::text)
        ORDER BY f.failed_at DESC, f.kind DESC, f.subject DESC LIMIT %(seen)s::int
    ) AS f
    ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(seen)s::int"""
_FAILURES = """
    WITH seen AS MATERIALIZED ({seen}),
    page AS MATERIALIZED (
        SELECT * FROM seen
        WHERE (%(kind)s::text IS NULL OR kind = %(kind)s::text)
            AND (%(reason)s::text IS NULL OR reason = %(reason)s::text)
        ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(limit)s::int + 1
    )
    SELECT count.seen, last.failed_at, last.kind, last.subject, page.*
    FROM (SELECT count(*) FROM seen) AS count (seen)
    LEFT JOIN (SELECT failed_at, kind, subject FROM seen
        ORDER BY failed_at, kind, subject LIMIT 1) AS last ON true
    LEFT JOIN page ON true
    ORDER BY page.failed_at DESC, page.kind DESC, page.subject DESC
"""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page of a list to read.

    Args:
        catalogs: the catalogs whose rows to return; None: all.
        filters: required values of columns without an index, by column; None: any value.
        since: lower bound of `received_at`, inclusive; for ads only.
        until: upper bound of `received_at`, exclusive; for ads only.
    """

    catalogs: Sequence[str] | None
    limit: int
    cursor: str | None
    filters: Mapping[str, str | None]
    since: datetime | None = None
    until: datetime | None = None

    @property
    def seen(self) -> int:
        """The maximum number of rows to scan."""
        filtered = any(value is not None for value in self.filters.values())
        return max(MAX_SCANNED_ROWS, self.limit + 1) if filtered else self.limit + 1

    def values(self) -> dict[str, Any]:
        """The parameters that both statements have in common."""
        common = {"limit": self.limit, "seen": self.seen, **self.filters}
        return common if self.catalogs is None else {**common, "catalogs": list(self.catalogs)}


def ads_query(page: PageRequest) -> tuple[str, dict[str, Any]]:
    """The statement and parameters of a page of ads.

    Raises:
        Problem: 422, the cursor is not valid.
    """
    at, ad_id, catalog = _LAST if page.until is None else page.until, "", ""
    if page.cursor is not None:
        moment, texts = position_of("ads", page.cursor, texts=2)
        # One upper bound, not two: with both, PostgreSQL 18 starts the scan at the wrong one.
        if (moment, texts[0]) < (at, ad_id):
            at, (ad_id, catalog) = moment, texts
    values = {
        **page.values(),
        **{"at": at, "ad_id": ad_id, "catalog": catalog},
        "since": _FIRST if page.since is None else page.since,
    }
    catalogs = _EVERY_CATALOG if page.catalogs is None else _THESE_CATALOGS
    return _ADS.format(catalogs=catalogs), values


def failures_query(page: PageRequest) -> tuple[str, dict[str, Any]]:
    """The statement and parameters of a page of failures.

    Raises:
        Problem: 422, the cursor is not valid.
    """
    at, (kind, subject) = _LAST, ("", "")
    if page.cursor is not None:
        at, (kind, subject) = position_of("failures", page.cursor, texts=2)
    values = {**page.values(), "at": at, "from_kind": kind, "subject": subject}
    seen = _EVERY_FAILURE if page.catalogs is None else _FAILURES_OF_CATALOGS
    return _FAILURES.format(seen=seen), values


async def list_ads(database: GatewayDatabase, page: PageRequest) -> dict[str, Any]:
    """Read a page of committed ads, in the shape of `schemas.ads.AdPage`."""
    rows, next_cursor = await _page(database, "ads", *ads_query(page), page)
    return {"ads": [_summary(row) for row in rows], "next": next_cursor}


async def list_failures(
    database: GatewayDatabase, page: PageRequest, *, dagster_url: str
) -> dict[str, Any]:
    """Read a page of failures, in the shape of `schemas.ads.FailurePage`.

    It does not contain the bytes of invalid records.
    """
    runs = run_prefix(dagster_url)
    rows, next_cursor = await _page(database, "failures", *failures_query(page), page)
    return {"failures": [_failure(row, runs) for row in rows], "next": next_cursor}


@repeated_once(repeatable=True)
async def _page(
    database: GatewayDatabase, kind: str, query: str, values: Mapping[str, Any], page: PageRequest
) -> tuple[list[tuple[Any, ...]], str | None]:
    """The rows of a page, and the cursor of the next page."""
    async with database.connection() as connection:
        found = await _rows(connection, query, values)
    seen, *last = found[0][:4]
    rows = [row[4:] for row in found if row[4] is not None]
    if len(rows) > page.limit:
        rows = rows[: page.limit]
        return rows, cursor_after(kind, *rows[-1][:3])
    return rows, cursor_after(kind, *last) if seen == page.seen else None


async def _rows(
    connection: psycopg.AsyncConnection, query: str, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, values, prepare=True)
    return await cursor.fetchall()


def _summary(row: tuple[Any, ...]) -> dict[str, Any]:
    received_at, ad_id, catalog, revision, status, title, category, sha256, predictions = row
    return {
        **{"catalog": catalog, "ad_id": ad_id, "revision": revision, "status": status},
        **{"title": title, "category": category, "received_at": received_at.isoformat()},
        **{"sha256": sha256, "predictions": predictions or {}},
        "links": ad_links(AdKey(catalog, ad_id)),
    }


def _failure(row: tuple[Any, ...], runs: str | None) -> dict[str, Any]:
    failed_at, kind, subject, reason, detail, catalog, ad_id, url, run_id = row
    return {
        **{"kind": kind, "subject": subject, "reason": reason, "detail": detail},
        **{"catalog": catalog, "ad_id": ad_id, "url": url, "failed_at": failed_at.isoformat()},
        "run": {"id": run_id, "url": None if runs is None else runs + run_id},
    }
