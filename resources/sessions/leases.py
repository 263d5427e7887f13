"""Leases of Kafka partitions in PostgreSQL, with epochs, by PostgreSQL's clock.

Owns the liveness of a holder: its connection is open and its lease has not expired. The connection
of a dead process closes at once; expiry detects a frozen one. `commit.py` refuses a commit under an
epoch that is older than the lease's, so a holder that lost its lease cannot write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from ops.session.assignment import Member
from resources.postgres.database import Database

ALIVE = (
    "(expires_at > clock_timestamp() AND (backend_pid, backend_start) IN "
    "(SELECT pid, backend_start FROM pg_stat_activity))"
)
ME = "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
CHANNEL = "lalafo_leases"
"""Notified when a partition is released, so that a waiting session need not poll again first."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The current lease of a partition."""

    partition: int
    epoch: int
    run_id: str
    alive: bool
    expired_s: float  # seconds since it expired or was released; 0 before


@dataclass(frozen=True, slots=True)
class MemberState:
    """The current row of a session."""

    member: Member
    alive: bool
    expired_s: float  # seconds since it expired or ended; 0 before
    host: str
    pid: int
    metrics_url: str


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


def read_sessions(database: Database, topic: str) -> dict[str, MemberState]:
    """Return every session of a topic by run, alive or ended, until upkeep deletes its row.

    Includes the sessions of a deleted topic of the same name.
    """
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, state, started_at, "
            "extract(epoch FROM due_at - clock_timestamp())::float8, code_version, "
            f"{ALIVE}, greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8, "
            "host, pid, metrics_url FROM lalafo.sessions WHERE topic = %s",
            (topic,),
        )
        return {row[0]: MemberState(Member(*row[:5]), *row[5:]) for row in cursor.fetchall()}


@dataclass(frozen=True, slots=True)
class Leases:
    """One run's operations on the leases of a topic; each takes the run's own connection.

    Other sessions detect the end of the run by the end of this connection.
    """

    stream_id: str
    topic: str
    run_id: str
    ttl_s: float

    def acquire(self, connection: Connection, partitions: Sequence[int]) -> dict[int, int]:
        """Acquire those of the partitions that have no living holder; return their new epochs."""
        rows = connection.execute(
            "INSERT INTO lalafo.leases AS held (stream_id, topic, partition, epoch, run_id, "
            "backend_pid, backend_start, expires_at) "
            f"SELECT %s, %s, wanted, 1, %s, pg_backend_pid(), {ME}, "
            "clock_timestamp() + %s * interval '1 second' "
            "FROM unnest(%s::int[]) AS wanted ORDER BY wanted "
            "ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "
            "epoch = held.epoch + 1, run_id = EXCLUDED.run_id, "
            "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
            "acquired_at = clock_timestamp(), expires_at = EXCLUDED.expires_at "
            "WHERE NOT (held.expires_at > clock_timestamp() AND "
            "(held.backend_pid, held.backend_start) IN "
            "(SELECT pid, backend_start FROM pg_stat_activity)) RETURNING partition, epoch",
            (self.stream_id, self.topic, self.run_id, self.ttl_s, list(partitions)),
        ).fetchall()
        return {int(partition): int(epoch) for partition, epoch in rows}

    def renew(self, connection: Connection, epochs: Mapping[int, int]) -> set[int]:
        """Renew the run's leases over this connection; return the partitions it still owns."""
        rows = connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() + %s * interval '1 second', "
            f"backend_pid = pg_backend_pid(), backend_start = {ME} "
            "FROM unnest(%s::int[], %s::bigint[]) AS own (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = own.partition AND leases.epoch = own.epoch "
            "RETURNING leases.partition",
            (self.ttl_s, list(epochs), list(epochs.values()), self.stream_id, self.topic),
        ).fetchall()
        return {int(row[0]) for row in rows}

    def release(self, connection: Connection, epochs: Mapping[int, int]) -> None:
        """Release these leases and notify waiting sessions; leases of other epochs don't change."""
        connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() "
            "FROM unnest(%s::int[], %s::bigint[]) AS own (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = own.partition AND leases.epoch = own.epoch",
            (list(epochs), list(epochs.values()), self.stream_id, self.topic),
        )
        connection.execute(f"NOTIFY {CHANNEL}")
