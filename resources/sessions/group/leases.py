"""Leases of Kafka partitions in PostgreSQL, with epochs, by PostgreSQL's clock.

Owns the liveness of a holder: its connection is open and its lease has not expired. The connection
of a dead process closes at once; expiry detects a frozen one. Through a pooler the holder has no
connection of its own, and only the expiry counts. `commit.py` refuses a commit under an epoch that
is older than the lease's, so a holder that lost its lease cannot write. A lease is valid on the
server's history on which it was acquired (`lalafo.server()`): after a failover or a restore the
holder's last commits may be missing, and it must acquire the partition, and its offset, again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ops.session.careful import DEATHS
from resources.postgres.database import Database
from resources.sessions.group.deaths import DIED, MEMORY_S

_CONNECTED = (
    "({0}backend_pid = 0 OR ({0}backend_pid, {0}backend_start) IN "
    "(SELECT pid, backend_start FROM pg_stat_activity))"
)
ALIVE = f"(expires_at > clock_timestamp() AND {_CONNECTED.format('')})"
OWN_BACKEND = (
    "pg_backend_pid()",
    "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())",
)
"""The columns backend_pid and backend_start of a holder with a connection of its own."""
NO_BACKEND = ("0", "clock_timestamp()")
"""The same through a pooler, which gives each transaction another backend."""
CHANNEL = "lalafo_leases"
"""Notified when a partition is released, so that a waiting session need not poll again first."""

Connection = psycopg.Connection[Any]

_BEFORE = (
    "SELECT partition, epoch, released, expires_at FROM lalafo.leases "
    "WHERE stream_id = %(stream_id)s "
    "AND topic = %(topic)s AND partition = ANY(%(partitions)s)"
)


def _acquired(backend: tuple[str, str]) -> str:
    """The statement that acquires partitions.

    Args:
        backend: OWN_BACKEND or NO_BACKEND.
    """
    return (
        "INSERT INTO lalafo.leases AS held (stream_id, topic, partition, epoch, run_id, "
        "backend_pid, backend_start, expires_at, released) "
        f"SELECT %(stream_id)s, %(topic)s, wanted, 1, %(run_id)s, {', '.join(backend)}, "
        "clock_timestamp() + %(ttl_s)s * interval '1 second', false "
        "FROM unnest(%(partitions)s::int[]) AS wanted ORDER BY wanted "
        "ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "
        "epoch = held.epoch + 1, run_id = EXCLUDED.run_id, "
        "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
        "acquired_at = clock_timestamp(), expires_at = EXCLUDED.expires_at, released = false "
        f"WHERE NOT (held.expires_at > clock_timestamp() AND {_CONNECTED.format('held.')}) "
        "RETURNING partition, epoch"
    )


_ACQUIRED = (
    "SELECT acquired.partition, acquired.epoch, before.expires_at IS NULL "
    "OR before.expires_at < clock_timestamp() - %(ready_s)s * interval '1 second' "
    "FROM acquired LEFT JOIN before USING (partition)"
)


@dataclass(frozen=True, slots=True)
class AcquiredLease:
    """A partition that a run has acquired, with its new epoch."""

    partition: int
    epoch: int
    unheld: bool  # no session has held it since this one became ready


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The current lease of a partition."""

    partition: int
    epoch: int
    run_id: str
    alive: bool
    expired_s: float  # seconds since it expired or was released; 0 before


def read_leases(database: Database, stream_id: str, topic: str) -> dict[int, LeaseState]:
    """Return every lease of a topic, by partition; {} if there was never a holder."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT partition, epoch, run_id, {ALIVE}, "
            "greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8 "
            "FROM lalafo.leases WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return {row[0]: LeaseState(*row) for row in cursor.fetchall()}


def read_holders(connection: Connection, stream_id: str, topic: str) -> dict[int, str]:
    """Return the run that holds each partition whose lease is alive."""
    return dict(
        connection.execute(
            "SELECT partition, run_id FROM lalafo.leases "
            f"WHERE stream_id = %s AND topic = %s AND {ALIVE}",
            (stream_id, topic),
        ).fetchall()
    )


@dataclass(frozen=True, slots=True)
class Leases:
    """One run's operations on the leases of a topic; each takes the run's own connection.

    Other sessions detect the end of the run by the end of this connection, unless it leads through
    a pooler.
    """

    stream_id: str
    topic: str
    run_id: str
    ttl_s: float
    backend: tuple[str, str] = OWN_BACKEND

    def acquire(self, connection: Connection, partitions: Sequence[int]) -> dict[int, int]:
        """Acquire those of the partitions that have no living holder; return their new epochs."""
        leases = self.acquire_since(connection, partitions, ready_s=0.0)
        return {lease.partition: lease.epoch for lease in leases}

    def acquire_since(
        self, connection: Connection, partitions: Sequence[int], *, ready_s: float
    ) -> list[AcquiredLease]:
        """The same, with whether a session held the partition in the last `ready_s` seconds."""
        rows = connection.execute(
            f"WITH before AS ({_BEFORE}), acquired AS ({_acquired(self.backend)}), "
            f"died AS ({DIED}) {_ACQUIRED}",
            {
                "ready_s": ready_s,
                "stream_id": self.stream_id,
                "topic": self.topic,
                "run_id": self.run_id,
                "ttl_s": self.ttl_s,
                "partitions": list(partitions),
                "memory_s": MEMORY_S,
                "deaths": DEATHS,
            },
        ).fetchall()
        return [AcquiredLease(*row) for row in rows]

    def renew(self, connection: Connection, epochs: Mapping[int, int]) -> set[int]:
        """Renew the run's leases over this connection; return the partitions it still owns."""
        pid, start = self.backend
        rows = connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() + %s * interval '1 second', "
            f"backend_pid = {pid}, backend_start = {start} "
            "FROM unnest(%s::int[], %s::bigint[]) AS own (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = own.partition AND leases.epoch = own.epoch "
            "AND (leases.server IS NULL OR leases.server = lalafo.server()) "
            "RETURNING leases.partition",
            (self.ttl_s, list(epochs), list(epochs.values()), self.stream_id, self.topic),
        ).fetchall()
        return {int(row[0]) for row in rows}

    def release(
        self, connection: Connection, epochs: Mapping[int, int], *, failed: bool = False
    ) -> None:
        """Release these leases and notify waiting sessions; leases of other epochs don't change.

        Args:
            failed: the session fails, which counts as its death.
        """
        connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp(), released = %s "
            "FROM unnest(%s::int[], %s::bigint[]) AS own (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = own.partition AND leases.epoch = own.epoch",
            (not failed, list(epochs), list(epochs.values()), self.stream_id, self.topic),
        )
        connection.execute(f"NOTIFY {CHANNEL}")
