"""Requests to bring the catalogue to a release: one row an attempt, one Dagster backfill a row.

    waiting     asked for; its time may be the off-peak window
    running     its backfill is Dagster's
    done        the release owed nothing any more
    cancelled   by a person, or because it could not go on; a new request is the next attempt

Decides names and states, and who is alive: a run at work holds a lock that its connection carries,
so that one whose process was killed is known at once, on whatever machine it was. Refuses to know
Dagster.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

import psycopg
import sqlalchemy as sa

from resources.postgres.database import Database
from resources.releases.registry import RegisteredRelease

RUN_LOCKS = 0x1A1AF5
"""The first key of the advisory locks that runs hold; the second is of the run's id."""

_COLUMNS = (
    "release, attempt, state, backfill_id, requested_by, any_time, requested_at, started_at, "
    "finished_at"
)


@dataclass(frozen=True, slots=True)
class Rescore:
    """One attempt at bringing the catalogue to a release. Moments are UTC."""

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
        """Whether it waits or runs."""
        return self.state in ("waiting", "running")


def backfill_id(digest: str, attempt: int) -> str:
    """The name of an attempt's backfill in Dagster: the same for ever, and short enough for it."""
    return f"rs{digest[:10]}-{attempt}"


def request(
    database: Database, release: RegisteredRelease, *, requested_by: str, any_time: bool
) -> Rescore:
    """Ask for a re-score; one that is unfinished is returned, and hurried if `any_time` is set."""
    with database.cursor() as cursor:
        # The release's row is what two who ask at once wait for.
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
    """A release's last attempt; None where none was asked for."""
    with database.cursor() as cursor:
        return _latest(cursor, release)


def unfinished(database: Database) -> list[Rescore]:
    """Those that wait or run, the oldest request first."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM lalafo.rescores WHERE state IN ('waiting', 'running') "
            "ORDER BY requested_at, release"
        )
        return [Rescore(*row) for row in cursor.fetchall()]


@contextmanager
def starting(database: Database, row: Rescore) -> Iterator[bool]:
    """Hold a row while its backfill is started: whether it is still wanted.

    It is running once the block ends without error. Another who starts it waits meanwhile.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT state FROM lalafo.rescores WHERE backfill_id = %s FOR UPDATE",
            (row.backfill_id,),
        )
        found = cursor.fetchone()
        wanted = found is not None and found[0] in ("waiting", "running")
        yield wanted
        if wanted:
            cursor.execute(
                "UPDATE lalafo.rescores SET state = 'running', "
                "started_at = coalesce(started_at, now()) WHERE backfill_id = %s",
                (row.backfill_id,),
            )


def mark_done(database: Database, row: Rescore) -> bool:
    """It has brought all that was owed; whether that was news."""
    return _finish(database, row, "done")


def mark_cancelled(database: Database, row: Rescore) -> bool:
    """It goes on no further; whether that was news."""
    return _finish(database, row, "cancelled")


def in_window(window: str, now: datetime) -> bool:
    """Whether a moment lies in "HH:MM-HH:MM" (UTC, the end exclusive, across midnight if it must).

    "" is any time; so is a window that ends when it begins.
    """
    if window == "":
        return True
    begin, end = (time.fromisoformat(part) for part in window.split("-"))
    clock = now.astimezone(UTC).time()
    if begin < end:
        return begin <= clock < end
    return clock >= begin or clock < end


def sessions_without(database: Database, release: str) -> int:
    """How many sessions that read, or stand by, have not loaded a release yet."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM lalafo.sessions WHERE state = 'ready' "
            "AND expires_at > clock_timestamp() AND NOT (%s = ANY(warm))",
            (release,),
        )
        return int(cursor.fetchall()[0][0])


@contextmanager
def at_work(database: Database, run_id: str) -> Iterator[None]:
    """Be known as alive while the block lasts: by a connection that dies with this process."""
    with database.errors(), database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        keys = {"locks": RUN_LOCKS, "run": run_id}
        # Shared: two steps of one run may be at work at once.
        connection.execute(sa.text("SELECT pg_advisory_lock_shared(:locks, hashtext(:run))"), keys)
        try:
            yield
        finally:
            connection.invalidate()  # closed, whatever state it is in: the lock goes with it


def is_at_work(database: Database, run_id: str) -> bool:
    """Whether a process of the run is alive and at work."""
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
