"""Requests to re-score the catalogue under a release: one row per attempt, one Dagster backfill
per row.

    waiting     requested; it may wait for the off-peak window
    running     its backfill is submitted to Dagster
    done        no day of the release is unscored any more
    cancelled   by a person, or because it could not continue; a new request is the next attempt

Owns the names and states of attempts, and the liveness of runs: a run holds an advisory lock on a
connection of its own, so a killed process is detected at once, on any machine. Does not depend on
Dagster.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

import psycopg

from ops.errors import ConfigurationError
from resources.duplicates.changes import LEASE as DUPLICATES
from resources.postgres.connections import through_pooler
from resources.postgres.conninfo import DIRECT_URL_SETTING
from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease
from resources.vector_search.ad_vectors import LEASE as VECTORS

RUN_LOCKS = 0x1A1AF5
"""The first key of the advisory locks of runs; the second is a hash of the run's id."""

_COLUMNS = (
    "release, attempt, state, backfill_id, requested_by, any_time, requested_at, started_at, "
    "finished_at"
)


@dataclass(frozen=True, slots=True)
class Rescore:
    """One attempt to re-score the catalogue under a release. Times are UTC."""

    release: str
    attempt: int
    state: str
    backfill_id: str
    requested_by: str
    any_time: bool  # also outside the off-peak window
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def unfinished(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in ("waiting", "running")


def backfill_id(digest: str, attempt: int) -> str:
    """Return the id of an attempt's backfill in Dagster: deterministic, and short enough for it."""
    return f"rs{digest[:10]}-{attempt}"


def request(
    database: Database, release: RegisteredRelease, *, requested_by: str, any_time: bool
) -> Rescore:
    """Request a re-score, or return the unfinished one.

    Args:
        any_time: start it also outside the off-peak window; this also updates an unfinished one.
    """
    with database.cursor() as cursor:
        # The lock on the release's row serialises concurrent requests.
        cursor.execute("SELECT FROM lalafo.releases WHERE name = %s FOR UPDATE", (release.name,))
        latest = _latest(cursor, release.name)
        if latest is not None and latest.unfinished:
            if any_time and not latest.any_time:
                cursor.execute(
                    "UPDATE lalafo.rescores SET any_time = true WHERE backfill_id = %s",
                    (latest.backfill_id,),
                )
            return _latest(cursor, release.name) or latest
        attempt = 1 if latest is None else latest.attempt + 1
        cursor.execute(
            "INSERT INTO lalafo.rescores "
            "(release, attempt, state, backfill_id, requested_by, any_time) "
            f"VALUES (%s, %s, 'waiting', %s, %s, %s) RETURNING {_COLUMNS}",
            (release.name, attempt, backfill_id(release.digest, attempt), requested_by, any_time),
        )
        return Rescore(*cursor.fetchall()[0])


def latest(database: Database, release: str) -> Rescore | None:
    """Return a release's last attempt; None if none was requested."""
    with database.cursor() as cursor:
        return _latest(cursor, release)


def unfinished(database: Database) -> list[Rescore]:
    """Return the attempts that are waiting or running, oldest request first."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM lalafo.rescores WHERE state IN ('waiting', 'running') "
            "ORDER BY requested_at, release"
        )
        return [Rescore(*row) for row in cursor.fetchall()]


@contextmanager
def starting(database: Database, row: Rescore) -> Iterator[bool]:
    """Lock an attempt while its backfill is started; yield whether it is still unfinished.

    Its state becomes `running` when the block ends without error. Another process that starts the
    same attempt waits for the block to end.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT state FROM lalafo.rescores WHERE backfill_id = %s FOR UPDATE",
            (row.backfill_id,),
        )
        stored = cursor.fetchone()
        is_unfinished = stored is not None and stored[0] in ("waiting", "running")
        yield is_unfinished
        if is_unfinished:
            cursor.execute(
                "UPDATE lalafo.rescores SET state = 'running', "
                "started_at = coalesce(started_at, now()) WHERE backfill_id = %s",
                (row.backfill_id,),
            )


def mark_done(database: Database, row: Rescore) -> bool:
    """Mark an attempt as done; return whether this changed its state."""
    return _finish(database, row, "done")


def mark_cancelled(database: Database, row: Rescore) -> bool:
    """Mark an attempt as cancelled; return whether this changed its state."""
    return _finish(database, row, "cancelled")


def in_window(window: str, now: datetime) -> bool:
    """Whether a time is in the window "HH:MM-HH:MM" (UTC, end exclusive, may span midnight).

    "" means any time, and so does a window whose end equals its beginning.
    """
    if window == "":
        return True
    begin, end = (time.fromisoformat(part) for part in window.split("-"))
    clock = now.astimezone(UTC).time()
    if begin < end:
        return begin <= clock < end
    return clock >= begin or clock < end


def sessions_without(database: Database, release: str) -> int:
    """Return the number of reading and standby sessions that have not loaded a release yet."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.sessions WHERE state = 'ready' AND topic <> ALL(%s) "
            "AND expires_at > clock_timestamp() AND NOT (%s = ANY(warm))",
            ([VECTORS.topic, DUPLICATES.topic], release),
        )
        return int(cursor.fetchall()[0][0])


@contextmanager
def at_work(database: Database, run_id: str) -> Iterator[None]:
    """Hold the run's advisory lock during the block, on a connection that ends with the process.

    Raises:
        ConfigurationError: the connection leads through a pooler.
    """
    with database.errors(), closing(database.connect_directly("lalafo-run")) as connection:
        if through_pooler(connection):
            raise ConfigurationError(
                f"the connection to {database.direct} leads through a pooler, and a re-score needs "
                f"a direct one: set {DIRECT_URL_SETTING} to the server's own address"
            )
        # Shared: two steps of one run may execute at the same time.
        lock = (RUN_LOCKS, run_id)
        connection.execute("SELECT pg_advisory_lock_shared(%s, hashtext(%s))", lock)
        try:
            yield
        finally:
            # The server notices a closed connection a moment later.
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_advisory_unlock_shared(%s, hashtext(%s))", lock)


def is_at_work(database: Database, run_id: str) -> bool:
    """Whether a process of the run is alive and executing it."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND classid = %s::oid AND objid = (hashtext(%s)::bigint & 4294967295)::oid)",
            (RUN_LOCKS, run_id),
        )
        return bool(cursor.fetchall()[0][0])


def _finish(database: Database, row: Rescore, state: str) -> bool:
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE lalafo.rescores SET state = %s, finished_at = now() "
            "WHERE backfill_id = %s AND state IN ('waiting', 'running')",
            (state, row.backfill_id),
        )
        return cursor.rowcount > 0


def _latest(cursor: psycopg.Cursor[Any], release: str) -> Rescore | None:
    cursor.execute(
        f"SELECT {_COLUMNS} FROM lalafo.rescores WHERE release = %s ORDER BY attempt DESC LIMIT 1",
        (release,),
    )
    row = cursor.fetchone()
    return None if row is None else Rescore(*row)
