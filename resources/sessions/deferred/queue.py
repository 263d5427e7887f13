"""The queue of ads whose tasks after the ad's path are still to run: `lalafo.deferred_ads`.

Owns who works on a row. `take` counts an attempt, durably and before the work, so that an ad that
kills its worker is not tried without end. `lock` then holds the rows in the transaction that writes
the results: the lock is the fence. PostgreSQL releases it when the worker's connection closes, and
another worker takes the row once its time to wait is over. A commit only ever adds rows, so it
never waits for a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from ops.types import AdKey
from resources.postgres.database import Database

Cursor = psycopg.Cursor[Any]

MAX_ATTEMPTS = 5
"""So often an ad is begun; then its tasks have failed."""

FIRST_WAIT_S = 5.0
"""Until a row is taken again, unless its worker has finished it; twice as long each time."""


@dataclass(frozen=True, slots=True)
class DeferredAd:
    """A row of the queue."""

    id: int
    key: AdKey
    revision: int
    day: date
    traceparent: str | None
    attempts: int  # with the one that begins

    @property
    def is_last(self) -> bool:
        """Whether this was tried as often as allowed before."""
        return self.attempts > MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits in the queue."""

    ads: int = 0
    oldest_s: float = 0.0


_COLUMNS = "id, catalog, ad_id, revision, day, traceparent, attempts"


def take(database: Database, limit: int) -> list[DeferredAd]:
    """Begin an attempt for the next rows; one that was begun before is taken alone."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT id, attempts FROM lalafo.deferred_ads WHERE retry_at <= clock_timestamp() "
            "ORDER BY retry_at, id LIMIT %s FOR UPDATE SKIP LOCKED",
            (limit,),
        )
        rows = cursor.fetchall()
        again = [id_ for id_, attempts in rows if attempts > 0]
        chosen = again[:1] if again else [id_ for id_, _ in rows]
        if not chosen:
            return []
        cursor.execute(
            "UPDATE lalafo.deferred_ads SET attempts = attempts + 1, retry_at = "
            "clock_timestamp() + make_interval(secs => %s * 2 ^ attempts) "
            f"WHERE id = ANY(%s) RETURNING {_COLUMNS}",
            (FIRST_WAIT_S, chosen),
        )
        return sorted((_row(row) for row in cursor.fetchall()), key=lambda ad: ad.id)


def lock(cursor: Cursor, ads: Sequence[DeferredAd]) -> list[DeferredAd]:
    """Those of the rows that are still there and that no other worker holds, locked."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM lalafo.deferred_ads WHERE id = ANY(%s) ORDER BY id "
        "FOR UPDATE SKIP LOCKED",
        ([ad.id for ad in ads],),
    )
    return [_row(row) for row in cursor.fetchall()]


def delete(cursor: Cursor, ads: Sequence[DeferredAd]) -> None:
    """Delete rows that are done, or that a newer revision has overtaken."""
    cursor.execute("DELETE FROM lalafo.deferred_ads WHERE id = ANY(%s)", ([ad.id for ad in ads],))


def give_back(database: Database, ads: Sequence[DeferredAd]) -> None:
    """Undo `take` for rows that are not at fault: they may be taken again at once."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.deferred_ads SET attempts = greatest(0, attempts - 1), "
            "retry_at = clock_timestamp() WHERE id = ANY(%s)",
            ([ad.id for ad in ads],),
        )


def depth(database: Database) -> Depth:
    """How much waits."""
    with database.statement() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)"
            "::float8 FROM lalafo.deferred_ads"
        )
        ads, oldest_s = cursor.fetchall()[0]
        return Depth(ads, oldest_s)


def _row(row: tuple[Any, ...]) -> DeferredAd:
    id_, catalog, ad_id, *others = row
    return DeferredAd(id_, AdKey(catalog, ad_id), *others)
