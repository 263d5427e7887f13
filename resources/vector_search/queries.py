"""A search for the nearest ads: its statements, in order, for a blocking or an asynchronous caller.

Owns which path a search takes: through the index of vectors, or exactly over all rows that the
filters leave. Both read the rows of `ads`, so an ad is not found any more from the commit of its
delete, or of its next revision, on. Needs no driver: `steps` yields statements and is sent rows.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

MAX_LIMIT = 200
MAX_DEPTH = 1_000
"""A search goes through at most so many ads, on all of its pages together: what `hnsw.ef_search`
can be, and far beyond where likeness means anything."""

EXACT_ROWS, SCANNED_AS_EXACT = 1_000, 20
"""So many rows, and 20 for each row that a scan of the index would visit, are compared one by one
instead, in about the same time: 2.3 µs a row of 1,280 numbers, and 40 µs a visited row, measured
with a million rows. Nothing is missed then: such a scan found 92 % of the ten nearest."""

EF_SEARCH, FILTERED_EF_SEARCH = 120, 200
"""The index's list of candidates: measured by `lalafo bench search`."""

MAX_SCAN_TUPLES = 40_000

Statement = tuple[str, dict[str, Any]]
Rows = list[tuple[Any, ...]]
Steps = Generator[Statement, Rows, "Page"]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which ads may be found; what is None does not matter.

    A category is the one that the seller filed, or one below it: an ad without one is found under
    none. Prices are of one currency. Times are of the ad's present revision.

    Args:
        catalogs: only these; None: all.
        price_from: inclusive, as `price_to`; they need a currency.
        since: inclusive; `until` is exclusive.
        but_ad: catalog and id of the ad to leave out.
        but_seller: catalog and id of the seller to leave out.
    """

    catalogs: Sequence[str] | None = None
    category: str | None = None
    price_from: Decimal | None = None
    price_to: Decimal | None = None
    currency: str | None = None
    seller: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    but_ad: tuple[str, str] | None = None
    but_seller: tuple[str, str] | None = None

    @property
    def narrow(self) -> bool:
        """Whether they may leave few ads: one ad or seller that is left out changes little."""
        return any(getattr(self, name) is not None for name in _CONDITIONS)

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The condition on the columns of `ad_vectors AS v`, and its parameters."""
        values: dict[str, Any] = {
            "catalogs": None if self.catalogs is None else list(self.catalogs),
            "category": self.category,
            "below": None if self.category is None else f"{self.category}/",
            **{"price_from": self.price_from, "price_to": self.price_to},
            **{"currency": self.currency, "seller": self.seller},
            **{"since": self.since, "until": self.until},
        }
        used = [text for name, text in _CONDITIONS.items() if values[name] is not None]
        for name, text in _EXCEPT.items():
            pair: tuple[str, str] | None = getattr(self, name)
            if pair is not None:
                used.append(text)
                values |= {f"{name}_catalog": pair[0], f"{name}_id": pair[1]}
        given = {name: value for name, value in values.items() if value is not None}
        return " AND ".join(used) or "true", given


_CONDITIONS = {
    "catalogs": "v.catalog = ANY(%(catalogs)s::text[])",
    "category": "(v.category = %(category)s::text OR starts_with(v.category, %(below)s::text))",
    "price_from": "v.price >= %(price_from)s::numeric",
    "price_to": "v.price <= %(price_to)s::numeric",
    "currency": "v.currency = %(currency)s::text",
    "seller": "v.seller = %(seller)s::text",
    "since": "v.received_at >= %(since)s::timestamptz",
    "until": "v.received_at < %(until)s::timestamptz",
}
_EXCEPT = {
    "but_ad": "(v.catalog <> %(but_ad_catalog)s::text OR v.ad_id <> %(but_ad_id)s::text)",
    "but_seller": "(v.catalog <> %(but_seller_catalog)s::text OR v.seller IS DISTINCT FROM "
    "%(but_seller_id)s::text)",
}

# Not a join: the planner could read all of `ads`. A row is looked up when its turn comes.
_CURRENT = (
    "(SELECT a.revision FROM lalafo.ads AS a WHERE a.catalog = v.catalog AND a.ad_id = v.ad_id "
    "AND a.status = 'scored') = v.revision"
)
_AFTER = (
    "similarity >= %(floor)s::float8 AND (similarity < %(after)s::float8 OR similarity = "
    '%(after)s::float8 AND (catalog COLLATE "C", ad_id COLLATE "C") > '
    "(%(after_catalog)s::text, %(after_id)s::text))"
)
_SETTINGS = (
    "SELECT set_config('hnsw.ef_search', %(ef_search)s::text, true), "
    "set_config('hnsw.iterative_scan', 'relaxed_order', true), "
    "set_config('hnsw.max_scan_tuples', %(most)s::text, true), "
    # Else the planner may read a tenth of the table, and sort it.
    "set_config('enable_sort', 'off', true)"
)
_NO_SETTINGS = "SELECT set_config('enable_sort', 'on', true)"
# The index is scanned without the floor and the cursor's position: with a condition on the
# distance the scan would go on through all that is farther.
_NEAREST = (
    "SELECT catalog, ad_id, revision, similarity FROM ("
    "SELECT v.catalog, v.ad_id, v.revision, -(v.vector::halfvec({dimension}) <#> "
    "%(vector)s::halfvec({dimension})) AS similarity "
    "FROM lalafo.{partition} AS v WHERE {conditions} AND {current} "
    "ORDER BY v.vector::halfvec({dimension}) <#> %(vector)s::halfvec({dimension}) "
    "LIMIT %(seen)s) AS found "
    'ORDER BY similarity DESC, catalog COLLATE "C", ad_id COLLATE "C"'
)
# Sorted first: only the rows that are returned are looked up in `ads`.
_EXACT = (
    "SELECT catalog, ad_id, revision, similarity FROM ("
    "SELECT v.catalog, v.ad_id, v.revision, "
    "-(v.vector <#> %(vector)s::halfvec({dimension})) AS similarity "
    "FROM lalafo.{partition} AS v WHERE {conditions} "
    'ORDER BY similarity DESC, v.catalog COLLATE "C", v.ad_id COLLATE "C" OFFSET 0) AS v '
    "WHERE {after} AND {current} "
    'ORDER BY similarity DESC, catalog COLLATE "C", ad_id COLLATE "C" LIMIT %(limit)s'
)


@dataclass(frozen=True, slots=True)
class SearchIndex:
    """The index of one backbone."""

    backbone: str
    dimension: int
    partition: str  # a table of schema lalafo
    state: str = "ready"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after this ad, `seen` ads into the answer."""

    similarity: float = float("inf")
    catalog: str = ""
    ad_id: str = ""
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Query:
    """A search.

    Args:
        vector: pgvector's text of a unit vector, such as "[0.6,0.8]".
        floor: the least similarity, the cosine, in [-1, 1].
        exact: compare every row that the filters leave; None: where they leave few.
        ef_search: the index's list of candidates; None: chosen.
    """

    vector: str
    filters: Filters = field(default_factory=Filters)
    limit: int = 20
    floor: float = -1.0
    after: Position = field(default_factory=Position)
    exact: bool | None = None
    ef_search: int | None = None


@dataclass(frozen=True, slots=True)
class SimilarAd:
    """An ad that was found. Its similarity is a cosine; rounding may put it just above 1."""

    catalog: str
    ad_id: str
    revision: int
    similarity: float


@dataclass(frozen=True, slots=True)
class Page:
    """The nearest ads, the nearest first."""

    ads: tuple[SimilarAd, ...]
    exact: bool  # every row that the filters leave was compared
    next: Position | None  # where the next page begins; None: there is none


def steps(index: SearchIndex, query: Query) -> Steps:
    """The statements of a search, to be executed in one transaction.

    Yields each statement with its parameters; takes its rows; returns the page.
    """
    conditions, values = query.filters.conditions()
    names = {
        **{"dimension": index.dimension, "partition": index.partition},
        **{"conditions": conditions, "current": _CURRENT, "after": _AFTER},
    }
    limit = min(query.limit, MAX_DEPTH - query.after.seen)
    values |= {
        **{"vector": query.vector, "floor": query.floor, "limit": limit + 1},
        **{"after": query.after.similarity, "after_catalog": query.after.catalog},
        **{"after_id": query.after.ad_id, "seen": query.after.seen + limit + 1},
    }
    exact, filtered = query.exact, query.filters.narrow
    if exact is None:
        explain = f"EXPLAIN (FORMAT JSON) SELECT FROM lalafo.{index.partition} AS v WHERE "
        plan = yield explain + conditions, values
        size = f"SELECT reltuples FROM pg_class WHERE oid = 'lalafo.{index.partition}'::regclass"
        ((rows_of_all,),) = yield size, {}
        exact = _is_exact_cheaper(planned_rows(plan), rows_of_all, values["seen"])
    if not exact:
        ef_search = query.ef_search or max(
            FILTERED_EF_SEARCH if filtered else EF_SEARCH, min(2 * values["seen"], MAX_DEPTH)
        )
        yield _SETTINGS, {"ef_search": ef_search, "most": MAX_SCAN_TUPLES}
        rows = yield _NEAREST.format(**names), values
        if len(rows) >= values["seen"]:
            return _nearest_page(rows, query, limit)
        yield _NO_SETTINGS, {}  # the scan has ended early: there may be more
    rows = yield _EXACT.format(**names), values
    ads = tuple(SimilarAd(*row) for row in rows[:limit])
    return Page(ads, True, _next(ads, query, limit) if len(rows) > limit else None)


def _is_exact_cheaper(rows: float, of_all: float, seen: int) -> bool:
    """Whether comparing the rows that the filters leave is as fast as a scan of the index."""
    visited = seen * max(of_all, rows) / max(rows, 1.0)
    return rows <= EXACT_ROWS + SCANNED_AS_EXACT * visited


def planned_rows(plan: Rows) -> float:
    """The number of rows that a plan in JSON expects."""
    return float(plan[0][0][0]["Plan"]["Plan Rows"])


def _nearest_page(rows: Rows, query: Query, limit: int) -> Page:
    """The page from the nearest rows, which begin with those of the pages before."""
    begin = query.after
    found = [SimilarAd(*row) for row in rows if row[3] >= query.floor]
    ads = [
        ad
        for ad in found
        if (-ad.similarity, ad.catalog, ad.ad_id) > (-begin.similarity, begin.catalog, begin.ad_id)
    ][:limit]
    more = len(found) == len(rows)  # what is farther may still be above the floor
    return Page(tuple(ads), False, _next(ads, query, limit) if more else None)


def _next(ads: Sequence[SimilarAd], query: Query, limit: int) -> Position | None:
    """Where the next page begins; None: so deep no search goes."""
    seen = query.after.seen + limit
    if seen >= MAX_DEPTH:
        return None
    if not ads:  # nearer ones have come since the page before
        return replace(query.after, seen=seen)
    return Position(ads[-1].similarity, ads[-1].catalog, ads[-1].ad_id, seen)
