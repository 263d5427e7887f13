"""Who owns a Kafka partition: a lease with an epoch, in PostgreSQL, by PostgreSQL's clock.

Decides when a holder counts as alive: its connection is open and its lease has not expired. A
dead process's connection closes at once; expiry finds a frozen one. A commit under an older epoch
than the lease's is refused by `results.py`, so a holder that lost its lease harms nothing.
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
"""Notified when a partition is given up: whoever wants it need not wait for its next look."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A partition's lease, as it is now."""

    partition: int
    epoch: int
    run_id: str
    alive: bool
    expired_s: float  # since it expired or was given up; 0 before


@dataclass(frozen=True, slots=True)
class MemberState:
    """A session's row, as it is now."""

    member: Member
    alive: bool
    expired_s: float  # since it expired or ended; 0 before
    host: str
    pid: int
    metrics_url: str


def read_leases(database: Database, stream_id: str, topic: str) -> dict[int, LeaseState]:
    """Every lease of a topic, by partition; none where no run has held one."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT partition, epoch, run_id, {ALIVE}, "
            "greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8 "
            "FROM lalafo.leases WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return {row[0]: LeaseState(*row) for row in cursor.fetchall()}


def read_sessions(database: Database, topic: str) -> dict[str, MemberState]:
    """Every session of a topic that upkeep has not swept yet, by run, the living ones among
    them; also of a topic of that name that was deleted since."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, state, started_at, "
            "extract(epoch FROM due_at - clock_timestamp())::float8, code_version, "
            f"{ALIVE}, greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8, "
            "host, pid, metrics_url FROM lalafo.sessions WHERE topic = %s",
            (topic,),
        )
        return {row[0]: MemberState(Member(*row[:5]), *row[5:]) for row in cursor.fetchall()}


def read_offsets(database: Database, stream_id: str, topic: str) -> dict[int, int]:
    """The next offset to read, by partition; a partition never committed is missing."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT partition, next_offset FROM lalafo.stream_offsets "
            "WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return dict(cursor.fetchall())


@dataclass(frozen=True, slots=True)
class Leases:
    """One run's hands on the leases of a topic; every method takes the run's own connection.

    That connection's end is how others see ours.
    """

    stream_id: str
    topic: str
    run_id: str
    ttl_s: float

    def take(self, connection: Connection, partitions: Sequence[int]) -> dict[int, int]:
        """Take those of these that no living holder has; the epochs of what we got."""
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
        """Keep what is ours, over this connection; the partitions that still are."""
        rows = connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() + %s * interval '1 second', "
            f"backend_pid = pg_backend_pid(), backend_start = {ME} "
            "FROM unnest(%s::int[], %s::bigint[]) AS ours (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = ours.partition AND leases.epoch = ours.epoch "
            "RETURNING leases.partition",
            (self.ttl_s, list(epochs), list(epochs.values()), self.stream_id, self.topic),
        ).fetchall()
        return {int(row[0]) for row in rows}

    def give_up(self, connection: Connection, epochs: Mapping[int, int]) -> None:
        """Let go of these, and tell who waits; those that are no longer ours stay as they are."""
        connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() "
            "FROM unnest(%s::int[], %s::bigint[]) AS ours (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = ours.partition AND leases.epoch = ours.epoch",
            (list(epochs), list(epochs.values()), self.stream_id, self.topic),
        )
        connection.execute(f"NOTIFY {CHANNEL}")
