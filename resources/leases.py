"""Who owns a Kafka partition: a lease with an epoch, in PostgreSQL, by PostgreSQL's clock.

Decides when a holder counts as alive: its connection is open and its lease has not expired. A
dead process's connection closes at once; expiry finds a frozen one. A commit under an older epoch
than the lease's is refused by `results.py`, so a holder that lost its lease harms nothing.
"""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psycopg
import structlog

from ops.errors import LeaseLostError, RetryableError
from resources.database import Database

ALIVE = (
    "leases.expires_at > clock_timestamp() AND EXISTS (SELECT FROM pg_stat_activity AS holder "
    "WHERE holder.pid = leases.backend_pid AND holder.backend_start = leases.backend_start)"
)
ME = "(SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A partition's lease, as it is now."""

    partition: int
    epoch: int
    run_id: str
    alive: bool
    expired_s: float  # since it expired or was given up; 0 before


def read_leases(database: Database, stream_id: str, topic: str) -> dict[int, LeaseState]:
    """Every lease of a topic, by partition; none where no run has held one."""
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT partition, epoch, run_id, {ALIVE}, "
            "greatest(0, extract(epoch FROM clock_timestamp() - expires_at))::float8 "
            "FROM lalafo.leases "
            "WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return {row[0]: LeaseState(*row) for row in cursor.fetchall()}


def read_offsets(database: Database, stream_id: str, topic: str) -> dict[int, int]:
    """The next offset to read, by partition; a partition never committed is missing."""
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT partition, next_offset FROM lalafo.stream_offsets "
            "WHERE stream_id = %s AND topic = %s",
            (stream_id, topic),
        )
        return dict(cursor.fetchall())


class PartitionLeases:
    """The leases of one run: taken on entry, kept alive by a thread, given up on exit.

    Args:
        partitions: those to take; the ones that a living holder has are left to it.
        ttl_s: how long a holder that stopped renewing counts as alive.
    """

    def __init__(
        self,
        database: Database,
        *,
        stream_id: str,
        topic: str,
        partitions: Iterable[int],
        run_id: str,
        ttl_s: float,
    ) -> None:
        self.database = database
        self.stream_id = stream_id
        self.topic = topic
        self.wanted = sorted(partitions)
        self.run_id = run_id
        self.ttl_s = ttl_s
        self.epochs: Mapping[int, int] = {}
        self._lost = threading.Event()
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._keep, name="lease-renewer", daemon=True)
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> "PartitionLeases":
        self.epochs = self._take()
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._renewer.join()
        if self._connection is not None:
            try:
                self._connection.execute(
                    "UPDATE lalafo.leases SET expires_at = clock_timestamp() "
                    "WHERE stream_id = %s AND topic = %s AND run_id = %s",
                    (self.stream_id, self.topic, self.run_id),
                )
            except psycopg.Error as failure:
                # The connection closes next, and that ends the leases as well.
                log.warning("lease.release_failed", error=str(failure))
            self._connection.close()

    def check(self) -> None:
        """Raise LeaseLostError once another run has taken a partition over."""
        if self._lost.is_set():
            raise LeaseLostError(f"a partition of {self.topic} was taken over by another run")

    def _take(self) -> dict[int, int]:
        with self.database.errors():
            connection = self._connect()
            rows = connection.execute(
                "INSERT INTO lalafo.leases (stream_id, topic, partition, epoch, run_id, "
                "backend_pid, backend_start, expires_at) "
                f"SELECT %s, %s, wanted, 1, %s, pg_backend_pid(), {ME}, "
                "clock_timestamp() + %s * interval '1 second' "
                "FROM unnest(%s::int[]) AS wanted "
                "ON CONFLICT (stream_id, topic, partition) DO UPDATE SET "
                "epoch = leases.epoch + 1, run_id = EXCLUDED.run_id, "
                "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
                "acquired_at = clock_timestamp(), expires_at = EXCLUDED.expires_at "
                f"WHERE NOT ({ALIVE}) RETURNING partition, epoch",
                (self.stream_id, self.topic, self.run_id, self.ttl_s, self.wanted),
            ).fetchall()
            return {int(partition): int(epoch) for partition, epoch in rows}

    def _keep(self) -> None:
        while not self._done.wait(self.ttl_s / 3):
            try:
                with self.database.errors():
                    renewed = self._renew()
            except RetryableError as error:
                log.warning("lease.renewal_failed", error=str(error))
                continue
            if renewed != len(self.epochs):
                self._lost.set()
                return

    def _renew(self) -> int:
        """How many of our leases are still ours; those live on, over this connection."""
        connection = self._connect()
        held = sorted(self.epochs.items())
        return connection.execute(
            "UPDATE lalafo.leases SET expires_at = clock_timestamp() + %s * interval '1 second', "
            f"backend_pid = pg_backend_pid(), backend_start = {ME} "
            "FROM unnest(%s::int[], %s::bigint[]) AS held (partition, epoch) "
            "WHERE leases.stream_id = %s AND leases.topic = %s "
            "AND leases.partition = held.partition AND leases.epoch = held.epoch",
            (
                self.ttl_s,
                [partition for partition, _ in held],
                [epoch for _, epoch in held],
                self.stream_id,
                self.topic,
            ),
        ).rowcount

    def _connect(self) -> psycopg.Connection[Any]:
        """A connection of the leases' own: its end is how others see ours."""
        if self._connection is None or self._connection.closed:
            url = self.database.url.set(drivername="postgresql")
            self._connection = psycopg.connect(
                url.render_as_string(hide_password=False),
                autocommit=True,
                connect_timeout=5,
                application_name="lalafo-lease",
            )
        return self._connection
