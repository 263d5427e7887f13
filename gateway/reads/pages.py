"""Pages of the lists, newest first, by keyset pagination: what lists of ads and failures share.

A page scans a limited number of rows of an index from the cursor's position, so its cost does not
depend on its position or on the number of rows. Filters that the scanned index does not have are
applied to the scanned rows, so a filtered page may contain fewer rows than requested, or none, and
still have a next page. `ad_list.py` and `failure_list.py` own the statements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from gateway.backends.connections import repeated_once
from gateway.backends.database import GatewayDatabase
from gateway.reads.cursors import cursor_after

MAX_ROWS = 200  # of one page
MAX_SCANNED_ROWS = 5_000  # that a page with a filter scans

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page of a list to read.

    Args:
        catalogs: the catalogs whose rows to return; None: all.
        filters: the values of the list's own filters, by name; None: any value.
        since: lower bound of `received_at` or `failed_at`, inclusive.
        until: upper bound of the same, exclusive.
        details: whether ads have the details of their predictions.
    """

    catalogs: Sequence[str] | None
    limit: int
    cursor: str | None
    filters: Mapping[str, object]
    since: datetime | None = None
    until: datetime | None = None
    details: bool = False

    @property
    def given(self) -> dict[str, object]:
        """The filters that have a value."""
        return {name: value for name, value in self.filters.items() if value is not None}

    def values(self, *, indexed: frozenset[str] = frozenset()) -> dict[str, Any]:
        """The parameters that all statements have in common.

        Args:
            indexed: the filters that the scanned index has: its rows need no further look.
        """
        scanned = max(MAX_SCANNED_ROWS, self.limit + 1)
        filtered = self.given.keys() - indexed
        return {
            **self.given,
            "limit": self.limit,
            "seen": scanned if filtered else self.limit + 1,
            "since": FIRST if self.since is None else self.since,
            **({} if self.catalogs is None else {"catalogs": list(self.catalogs)}),
        }


Statement = tuple[str, dict[str, Any]]


@repeated_once(repeatable=True)
async def read_page(
    database: GatewayDatabase, kind: str, statement: Statement, limit: int
) -> tuple[list[tuple[Any, ...]], str | None]:
    """The rows of a page, and the cursor of the next page; None after the last row.

    Args:
        statement: returns the number of scanned rows, the position of the last one in three
            columns, and a row of the page, whose first three columns are its position. All but the
            number are null if there is none.
    """
    query, values = statement
    async with database.connection() as connection:
        found = await _rows(connection, query, values)
    seen, *last = found[0][:4]
    rows = [row[4:] for row in found if row[4] is not None]
    if len(rows) > limit:
        rows = rows[:limit]
        return rows, cursor_after(kind, *rows[-1][:3])
    return rows, cursor_after(kind, *last) if seen == values["seen"] else None


async def _rows(
    connection: psycopg.AsyncConnection, query: str, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(query, values, prepare=True)
    return await cursor.fetchall()
