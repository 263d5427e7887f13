"""The list of failures: the statement of a page, and its rows as JSON."""

from typing import Any

from gateway.backends.database import GatewayDatabase
from gateway.reads.cursors import position_of
from gateway.reads.pages import LAST, PageRequest, Statement, read_page
from gateway.schemas.links import run_prefix

_COLUMNS = "failed_at, kind, subject, reason, detail, catalog, ad_id, url, run_id"
_EVERY = f"""
    SELECT {_COLUMNS} FROM lalafo.failures
    WHERE (failed_at, kind, subject) < (%(at)s::timestamptz, %(from_kind)s::text, %(subject)s::text)
    ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(seen)s::int"""
_OF_CATALOGS = f"""
    SELECT f.* FROM unnest(%(catalogs)s::text[]) AS c (catalog) CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM lalafo.failures AS f
        WHERE f.catalog = c.catalog AND (f.failed_at, f.kind, f.subject)
            < (%(at)s::timestamptz, %(from_kind)s::text, %(subject)s::text)
        ORDER BY f.failed_at DESC, f.kind DESC, f.subject DESC LIMIT %(seen)s::int
    ) AS f
    ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(seen)s::int"""
# The lower bound is looked at last: beside the upper one, it led the planner to another index.
_PAGE = """
    WITH seen AS MATERIALIZED (
        SELECT * FROM ({seen}) AS f WHERE f.failed_at >= %(since)s::timestamptz
    ),
    page AS MATERIALIZED (
        SELECT * FROM seen {where}
        ORDER BY failed_at DESC, kind DESC, subject DESC LIMIT %(limit)s::int + 1
    )
    SELECT count.seen, last.failed_at, last.kind, last.subject, page.*
    FROM (SELECT count(*) FROM seen) AS count (seen)
    LEFT JOIN (SELECT failed_at, kind, subject FROM seen
        ORDER BY failed_at, kind, subject LIMIT 1) AS last ON true
    LEFT JOIN page ON true
    ORDER BY page.failed_at DESC, page.kind DESC, page.subject DESC
"""
_FILTERS = {"kind": "kind = %(kind)s::text", "reason": "reason = %(reason)s::text"}


def failures_query(page: PageRequest) -> Statement:
    """The statement and parameters of a page of failures.

    Raises:
        Problem: 422, the cursor is not valid.
    """
    at, kind, subject = LAST if page.until is None else page.until, "", ""
    if page.cursor is not None:
        moment, texts = position_of("failures", page.cursor, texts=2)
        # One upper bound, not two: with both, PostgreSQL 18 starts the scan at the wrong one.
        if (moment, *texts) < (at, kind, subject):
            at, (kind, subject) = moment, texts
    values = {**page.values(), "at": at, "from_kind": kind, "subject": subject}
    conditions = " AND ".join(_FILTERS[name] for name in page.given)
    query = _PAGE.format(
        seen=_EVERY if page.catalogs is None else _OF_CATALOGS,
        where=f"WHERE {conditions}" if conditions else "",
    )
    return query, values


async def list_failures(
    database: GatewayDatabase, page: PageRequest, *, dagster_url: str
) -> dict[str, Any]:
    """Read a page of failures, in the shape of `schemas.ads.FailurePage`.

    It does not contain the bytes of invalid records.
    """
    runs = run_prefix(dagster_url)
    rows, next_cursor = await read_page(database, "failures", failures_query(page), page.limit)
    return {"failures": [_failure(row, runs) for row in rows], "next": next_cursor}


def _failure(row: tuple[Any, ...], runs: str | None) -> dict[str, Any]:
    failed_at, kind, subject, reason, detail, catalog, ad_id, url, run_id = row
    return {
        **{"kind": kind, "subject": subject, "reason": reason, "detail": detail},
        **{"catalog": catalog, "ad_id": ad_id, "url": url, "failed_at": failed_at.isoformat()},
        "run": {"id": run_id, "url": None if runs is None else runs + run_id},
    }
