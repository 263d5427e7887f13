"""The list of ads: the statement of a page for any combination of filters, and its rows as JSON.

The rows come from one index: by catalog and time, or by catalog, category or status, and time. A
category stands for those below it too: a loose index scan finds which there are. The other filters
look at the rows scanned, each at one key of another table. A filter by what was predicted has no
index of its own: predictions are written for every ad and every release, and in a re-score as fast
as PostgreSQL can copy, which another index would slow down.
"""

from typing import Any

from gateway.backends.database import GatewayDatabase
from gateway.reads.cursors import position_of
from gateway.reads.pages import LAST, PageRequest, Statement, read_page
from gateway.schemas.links import ad_links
from ops.types import AdKey

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

# The given category and those below it that sellers chose in a catalog: one step in the index for
# each category from the given one on. Not a range of texts: which text comes next depends on the
# database's collation, but none puts a text before its own beginning.
_CATEGORIES = """,
    following (catalog, category) AS (
        SELECT c.catalog, (SELECT min(a.category) FROM lalafo.ads AS a
            WHERE a.catalog = c.catalog AND a.category >= %(filed)s::text) FROM catalogs AS c
        UNION ALL
        SELECT f.catalog, (SELECT min(a.category) FROM lalafo.ads AS a
            WHERE a.catalog = f.catalog AND a.category > f.category)
        FROM following AS f WHERE f.category IS NOT NULL
    ),
    places (catalog, category) AS (SELECT catalog, category FROM following
        WHERE category = %(filed)s::text OR starts_with(category, %(filed)s::text || '/'))"""

# The newest ads of each catalog, and of these the newest overall: the indexes on (catalog, …,
# received_at, ad_id) support both. The cursor's own row is the first in its catalog's scan, and is
# excluded.
_PAGE = """
    WITH RECURSIVE {catalogs},
    seen AS MATERIALIZED (
        SELECT a.* FROM {places} AS c CROSS JOIN LATERAL (
            SELECT a.catalog, a.ad_id, a.received_at, a.revision, a.status, a.title, a.category,
                a.day, a.price::text AS price, a.currency, a.seller, a.attributes
            FROM lalafo.ads AS a
            WHERE a.catalog = c.catalog {indexed}
                AND (a.received_at, a.ad_id) <= (%(at)s::timestamptz, %(ad_id)s::text)
                AND a.received_at >= %(since)s::timestamptz
                AND (c.catalog < %(catalog)s::text
                    OR (a.received_at, a.ad_id) <> (%(at)s::timestamptz, %(ad_id)s::text))
            ORDER BY a.received_at DESC, a.ad_id DESC LIMIT %(seen)s::int
        ) AS a
        ORDER BY a.received_at DESC, a.ad_id DESC, a.catalog DESC LIMIT %(seen)s::int
    ),
    page AS MATERIALIZED (
        SELECT a.* FROM seen AS a {joined} {where}
        ORDER BY a.received_at DESC, a.ad_id DESC, a.catalog DESC LIMIT %(limit)s::int + 1
    )
    SELECT count.seen, last.received_at, last.ad_id, last.catalog,
        page.received_at, page.ad_id, page.catalog, page.revision, page.status, page.title,
        page.category, page.day, page.price, page.currency, page.seller, page.attributes,
        coalesce(predicted.best, (SELECT encode(p.sha256, 'hex') FROM lalafo.ad_photos AS p
            WHERE p.catalog = page.catalog AND p.ad_id = page.ad_id AND p.sha256 IS NOT NULL
                AND page.status <> 'deleted'
            ORDER BY p.position LIMIT 1)),
        (SELECT count(*) FROM lalafo.ad_photos AS p
            WHERE p.catalog = page.catalog AND p.ad_id = page.ad_id AND p.reason IS NOT NULL
                AND page.status <> 'deleted'),
        predicted.answers,
        (SELECT json_object_agg(l.task, l.label) FROM lalafo.labels AS l
            WHERE l.catalog = page.catalog AND l.ad_id = page.ad_id)
    FROM (SELECT count(*) FROM seen) AS count (seen)
    LEFT JOIN (SELECT received_at, ad_id, catalog FROM seen
        ORDER BY received_at, ad_id, catalog LIMIT 1) AS last ON true
    LEFT JOIN page ON true
    LEFT JOIN LATERAL (
        SELECT json_object_agg(p.task, json_build_object('label', p.label, 'score', p.score
                {details})) AS answers, min(p.details->'best'->>'sha256') AS best
        FROM lalafo.{predictions} AS p
        WHERE p.release = (SELECT live FROM lalafo.active_releases)
            AND p.catalog = page.catalog AND p.ad_id = page.ad_id
            AND p.revision = page.revision AND page.status <> 'deleted'
    ) AS predicted ON true
    ORDER BY page.received_at DESC, page.ad_id DESC, page.catalog DESC
"""
_PREDICTED = """
    CROSS JOIN LATERAL (SELECT p.label, p.score FROM lalafo.predictions AS p
        WHERE p.release = (SELECT live FROM lalafo.active_releases)
            AND p.catalog = a.catalog AND p.ad_id = a.ad_id AND p.task = 'category'
            AND p.revision = a.revision AND a.status <> 'deleted'
        LIMIT 1) AS p"""
_FILTERS = {
    "status": "a.status = %(status)s::text",
    "filed": "(a.category = %(filed)s::text OR starts_with(a.category, %(filed)s::text || '/'))",
    "label": "(p.label = %(label)s::text OR starts_with(p.label, %(label)s::text || '/'))",
    "agrees": "(p.label = a.category) = %(agrees)s::bool",
    "max_score": "p.score <= %(max_score)s::float8",
    "failed": """coalesce((SELECT true FROM lalafo.ad_photos AS f WHERE f.catalog = a.catalog
        AND f.ad_id = a.ad_id AND f.reason IS NOT NULL AND a.status <> 'deleted' LIMIT 1), false)
        = %(failed)s::bool""",
    "labelled": """coalesce((SELECT true FROM lalafo.labels AS l WHERE l.catalog = a.catalog
        AND l.ad_id = a.ad_id AND l.task = 'category' LIMIT 1), false) = %(labelled)s::bool""",
}
"""With LIMIT, not EXISTS: PostgreSQL may compute that by reading the whole other table."""
_OF_PREDICTIONS = frozenset({"label", "agrees", "max_score"})
_FREQUENT_STATUS = "scored"
_IN_INDEX = {
    "": "",
    "filed": " AND a.category = c.category",
    # as in the index, which leaves out most ads
    "status": f" AND {_FILTERS['status']} AND a.status <> '{_FREQUENT_STATUS}'",
}
_DETAILS = ", 'details', p.details, 'release', p.release"


def ads_query(page: PageRequest) -> Statement:
    """The statement and parameters of a page of ads.

    Raises:
        Problem: 422, the cursor is not valid.
    """
    at, ad_id, catalog = LAST if page.until is None else page.until, "", ""
    if page.cursor is not None:
        moment, texts = position_of("ads", page.cursor, texts=2)
        # One upper bound, not two: with both, PostgreSQL 18 starts the scan at the wrong one.
        if (moment, texts[0]) < (at, ad_id):
            at, (ad_id, catalog) = moment, texts
    indexed = _indexed(page)
    values = {
        **page.values(indexed=frozenset({indexed})),
        **{"at": at, "ad_id": ad_id, "catalog": catalog},
    }
    rest = page.given.keys() - {indexed}
    conditions = " AND ".join(_FILTERS[name] for name in _FILTERS if name in rest)
    catalogs = _EVERY_CATALOG if page.catalogs is None else _THESE_CATALOGS
    query = _PAGE.format(
        catalogs=catalogs + (_CATEGORIES if indexed == "filed" else ""),
        places="places" if indexed == "filed" else "catalogs",
        indexed=_IN_INDEX[indexed],
        details=_DETAILS if page.details else "",
        predictions="predictions_with_details" if page.details else "predictions",
        joined=_PREDICTED if rest & _OF_PREDICTIONS else "",
        where=f"WHERE {conditions}" if conditions else "",
    )
    # On one line: psycopg 3.3 parses a statement of more than 4,096 characters again at every call.
    return " ".join(query.split()), values


def _indexed(page: PageRequest) -> str:
    """The filter whose index is scanned; empty: the index by time alone."""
    if page.given.get("status", _FREQUENT_STATUS) != _FREQUENT_STATUS:
        return "status"
    return "filed" if "filed" in page.given else ""


async def list_ads(database: GatewayDatabase, page: PageRequest) -> dict[str, Any]:
    """Read a page of committed ads, in the shape of `schemas.ads.AdPage`."""
    rows, next_cursor = await read_page(database, "ads", ads_query(page), page.limit)
    return {"ads": [_summary(row, page.details) for row in rows], "next": next_cursor}


def _summary(row: tuple[Any, ...], details: bool) -> dict[str, Any]:
    received_at, ad_id, catalog, revision, status, title, category, *more = row
    day, price, currency, seller, attributes, sha256, failed_photos, predictions, labels = more
    return {
        **{"catalog": catalog, "ad_id": ad_id, "revision": revision, "status": status},
        **{"title": title, "category": category, "received_at": received_at.isoformat()},
        **{"day": day.isoformat(), "price": price, "currency": currency, "seller": seller},
        **({"attributes": attributes} if details else {}),
        **{"sha256": sha256, "failed_photos": failed_photos},
        **{"predictions": predictions or {}, "labels": labels or {}},
        "links": ad_links(AdKey(catalog, ad_id)),
    }
