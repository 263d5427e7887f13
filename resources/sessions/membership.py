"""A session's group membership: its row in `sessions`, its leases, and its next assignment.

A thread polls every tenth of a second, and at once when another session releases a partition. It
renews the session's row and leases, reads the other members, and applies the assignment of
`ops/session/assignment.py`, which all sessions compute from the same rows. Another thread asks for
the offsets of acquired partitions, so that renewal never waits for Kafka. The session receives
assigned and revoked partitions from `changes`. Does not depend on what the session does with them.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog

from ops.errors import RetryableError
from ops.session.admission import Ownership
from ops.session.assignment import Assignment, Member, decide_assignment
from ops.session.isolation import is_crash
from ops.session.ports import PartitionAssigned, PartitionRevoked
from resources.postgres.connections import through_pooler
from resources.postgres.conninfo import DIRECT_URL_SETTING
from resources.postgres.database import Database
from resources.postgres.faults import is_of_another_backend
from resources.sessions.leases import (
    ALIVE,
    CHANNEL,
    NO_BACKEND,
    OWN_BACKEND,
    Connection,
    Leases,
)

POLL_S = 0.1
JOIN_WITHIN_S, JOIN_EVERY_S = 60.0, 0.5
"""How long a session waits for PostgreSQL at its start; the sensor gives it 120 s to join."""
MAX_LEAD_S = 90.0
"""A session's successor is requested at most this long before its end; it has to import torch."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """A session's description of itself, and the target number of sessions."""

    run_id: str
    stream_id: str
    topic: str
    partitions: tuple[int, ...]  # of the topic
    sessions: int
    session_s: float
    ttl_s: float  # a session that renews nothing for longer counts as dead
    code_version: str
    metrics_url: str = ""

    @property
    def lead_s(self) -> float:
        """How many seconds before the session's end its successor may run beside it."""
        return lead_s(self.session_s)


def lead_s(session_s: float) -> float:
    """Return how many seconds before its end a session's successor is requested."""
    return min(MAX_LEAD_S, session_s / 2)


class SessionMembership:
    """One session's group membership; a context manager. On entry, others see it warming up.

    Args:
        positions: returns the offsets from which to read acquired partitions; it may raise
            RetryableError, and is then called again.
    """

    def __init__(
        self,
        database: Database,
        config: MembershipConfig,
        *,
        positions: Callable[[Sequence[int]], Mapping[int, int]],
    ) -> None:
        self.database = database
        self.config = config
        self._positions = positions
        self._partitions = config.partitions
        self._leases = Leases(config.stream_id, config.topic, config.run_id, config.ttl_s)
        self._epochs: dict[int, int] = {}  # by partition, of this session's leases
        self._unassigned: set[int] = set()  # acquired, PartitionAssigned not sent yet
        self._revoked: set[int] = set()  # PartitionRevoked sent, not released yet
        self._changes: list[PartitionAssigned | PartitionRevoked] = []
        self._lock = threading.Lock()  # guards all of the above, and every write to the leases
        self._state = "warming"
        self._leaving = threading.Event()
        self._done = threading.Event()
        self._connection: Connection | None = None
        self._error: Exception | None = None
        self._renewed_at = 0.0
        self._acquired = threading.Event()  # set while `_unassigned` may have partitions
        self._threads = [
            threading.Thread(target=self._run, name="session-membership", daemon=True),
            threading.Thread(target=self._run_positions, name="session-positions", daemon=True),
        ]

    def __enter__(self) -> Self:
        deadline = time.monotonic() + JOIN_WITHIN_S
        while True:
            try:
                with self.database.errors(), self._disconnecting():
                    self._renew(self._connected())
                break
            except RetryableError as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("session.waiting", for_="membership", error=str(error))
                self._done.wait(JOIN_EVERY_S)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._acquired.set()
        for thread in self._threads:
            thread.join()
        if self._connection is None:
            return
        try:
            self._leases.release(self._connection, self._epochs, failed=is_crash(error))
            self._connection.execute(
                "UPDATE lalafo.sessions SET state = 'leaving', expires_at = clock_timestamp() "
                "WHERE run_id = %s",
                (self.config.run_id,),
            )
        except psycopg.Error as failure:
            # The connection is closed next, which also ends the leases.
            log.warning("lease.release_failed", error=str(failure))
        self._connection.close()

    def abandon(self) -> None:
        """Release everything over a new connection, as a failed session does; renew nothing more.

        For a process that ends itself while its threads hang: it waits for no lock.
        """
        self._done.set()
        self._leaving.set()
        with self.database.connect_directly("lalafo-session") as connection:
            self._leases.release(connection, dict(self._epochs), failed=True)
            connection.execute(
                "UPDATE lalafo.sessions SET state = 'leaving', expires_at = clock_timestamp() "
                "WHERE run_id = %s",
                (self.config.run_id,),
            )

    def ready(self) -> None:
        """Announce that the session is warm and can be assigned partitions."""
        self._set_state("ready")

    def warm(self, releases: Sequence[str]) -> None:
        """Publish which releases are loaded; raises RetryableError if PostgreSQL is unavailable."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.sessions SET warm = %s WHERE run_id = %s",
                (list(releases), self.config.run_id),
            )

    # --- called by the session

    def changes(self) -> list[PartitionAssigned | PartitionRevoked]:
        """Return the assigned and revoked partitions since the last call, in order.

        Raises the error that ended the membership's thread: such a session must end.
        """
        if self._error is not None:
            raise self._error
        if not self._changes:
            return []
        with self._lock:
            changes, self._changes = self._changes, []
            return changes

    def release(self, partition: int) -> None:
        """Release a partition; raises RetryableError if PostgreSQL is unavailable."""
        with self._lock:
            epoch = self._epochs.get(partition)
            if epoch is not None:
                with self.database.cursor() as cursor:
                    if self.left:
                        # In the same transaction, so that the session that the notification wakes
                        # no longer counts this one as a member.
                        cursor.execute(
                            "UPDATE lalafo.sessions SET state = 'leaving' WHERE run_id = %s",
                            (self.config.run_id,),
                        )
                    self._leases.release(cursor.connection, {partition: epoch})
                self._forget(partition)

    def mark_lost(self, partition: int) -> None:
        """Drop a partition whose commit failed because another session has its lease."""
        with self._lock:
            self._lost({partition})

    def acquire_again(self, partition: int) -> None:
        """Release a partition and acquire it anew, from the offset that `positions` returns then.

        Raises RetryableError if PostgreSQL is unavailable; then nothing has changed.
        """
        self.release(partition)
        with self._lock:
            self._changes.append(PartitionRevoked(partition, lost=True))

    def extend(self, partitions: Sequence[int]) -> None:
        """Follow the topic, which has these partitions now."""
        self._partitions = tuple(partitions)

    def leave(self) -> None:
        """Revoke all partitions of the session, and acquire no more."""
        if not self._leaving.is_set():
            self._leaving.set()
            with self._lock:
                self._revoke(self._epochs)

    @property
    def left(self) -> bool:
        """Whether the session is leaving, on request or because its successor is ready."""
        return self._leaving.is_set()

    @property
    def state(self) -> str:
        """warming, ready or leaving."""
        return "leaving" if self.left else self._state

    # --- the membership's thread

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                with self.database.errors(), self._disconnecting():
                    self._poll(self._connected())
            except RetryableError as error:
                log.warning("session.membership_not_renewed", error=str(error))
                self._done.wait(POLL_S)
            except Exception as error:  # noqa: BLE001 - `changes` raises it in the session
                log.error("session.membership_failed", error=repr(error))
                self._error = error
                return

    def _poll(self, connection: Connection) -> None:
        if time.monotonic() - self._renewed_at > self.config.ttl_s / 4:
            self._renew(connection)
        self._apply(self._compute_assignment(connection), connection)
        if self._unassigned:
            self._acquired.set()
        if self._leases.backend == NO_BACKEND:
            self._done.wait(POLL_S)
            return
        # Sleeps until another session releases a partition, POLL_S at most.
        for _ in connection.notifies(timeout=POLL_S, stop_after=1):
            pass

    def _renew(self, connection: Connection) -> None:
        config = self.config
        connection.execute(
            "INSERT INTO lalafo.sessions AS held (run_id, stream_id, topic, state, code_version, "
            "host, pid, metrics_url, backend_pid, backend_start, due_at, expires_at) "
            f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, {', '.join(self._leases.backend)}, "
            "clock_timestamp() + %s * interval '1 second', "
            "clock_timestamp() + %s * interval '1 second') "
            "ON CONFLICT (run_id) DO UPDATE SET state = EXCLUDED.state, "
            "stream_id = EXCLUDED.stream_id, metrics_url = EXCLUDED.metrics_url, "
            "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
            "expires_at = EXCLUDED.expires_at",
            (
                *(config.run_id, config.stream_id, config.topic, self.state, config.code_version),
                *(socket.gethostname(), os.getpid(), config.metrics_url),
                *(config.session_s, config.ttl_s),
            ),
        )
        with self._lock:
            if self._epochs:
                renewed = self._leases.renew(connection, self._epochs)
                self._lost(self._epochs.keys() - renewed)
        self._renewed_at = time.monotonic()

    def _set_state(self, state: str) -> None:
        self._state = state
        self._renewed_at = 0.0  # the next poll writes it

    def _compute_assignment(self, connection: Connection) -> Assignment:
        config = self.config
        members = connection.execute(
            "SELECT run_id, state, started_at, "
            "extract(epoch FROM due_at - clock_timestamp())::float8, code_version "
            f"FROM lalafo.sessions WHERE stream_id = %s AND topic = %s AND {ALIVE}",
            (config.stream_id, config.topic),
        ).fetchall()
        holders: dict[int, str | None] = dict.fromkeys(self._partitions)
        holders.update(
            connection.execute(
                "SELECT partition, run_id FROM lalafo.leases "
                f"WHERE stream_id = %s AND topic = %s AND {ALIVE}",
                (config.stream_id, config.topic),
            ).fetchall()
        )
        with self._lock:
            # An expired lease of this session is renewed, not acquired again, unless another
            # session has acquired it.
            for partition in self._epochs:
                if holders.get(partition) is None:
                    holders[partition] = config.run_id
        return decide_assignment(
            config.run_id,
            [Member(*row) for row in members],
            holders,
            sessions=config.sessions,
            lead_s=config.lead_s,
        )

    def _apply(self, assignment: Assignment, connection: Connection) -> None:
        if assignment.leave and not self.left:
            log.info("session.leaving", reason="its successors are ready")
            self.leave()
        if self.left:
            if self._state != "leaving":
                self._set_state("leaving")
            return
        with self._lock:
            self._revoke({p: self._epochs[p] for p in assignment.release if p in self._epochs})
            # Checked again under the lock: `leave` revokes once, and may have run since.
            if assignment.acquire and not self.left:
                acquired = self._leases.acquire(connection, assignment.acquire)
                self._epochs.update(acquired)
                self._unassigned.update(acquired)

    # --- the thread that asks for offsets

    def _run_positions(self) -> None:
        while self._acquired.wait() and not self._done.is_set():
            self._acquired.clear()
            try:
                self._send_assigned()
            except RetryableError as error:
                log.warning("session.positions_unknown", error=str(error))
                self._done.wait(POLL_S)
            except Exception as error:  # noqa: BLE001 - `changes` raises it in the session
                log.error("session.membership_failed", error=repr(error))
                self._error = error
                return

    def _send_assigned(self) -> None:
        """Send acquired partitions to the session with their offsets; the next poll retries."""
        with self._lock:
            epochs = {p: self._epochs[p] for p in self._unassigned if p in self._epochs}
        if not epochs:
            return
        offsets = self._positions(sorted(epochs))
        with self._lock:
            for partition, epoch in sorted(epochs.items()):
                # It may have been lost meanwhile, and acquired again under another epoch.
                if partition in self._unassigned and self._epochs.get(partition) == epoch:
                    owner = Ownership(partition, epoch)
                    self._changes.append(PartitionAssigned(owner, offsets[partition]))
                    self._unassigned.discard(partition)

    # --- called with the lock held

    def _revoke(self, epochs: Mapping[int, int]) -> None:
        for partition in sorted(epochs):
            if partition not in self._revoked:
                self._revoked.add(partition)
                self._unassigned.discard(partition)
                self._changes.append(PartitionRevoked(partition))

    def _lost(self, partitions: set[int]) -> None:
        for partition in sorted(partitions & self._epochs.keys()):
            log.warning("session.lease_lost", partition=partition)
            self._forget(partition)
            self._changes.append(PartitionRevoked(partition, lost=True))

    def _forget(self, partition: int) -> None:
        self._epochs.pop(partition, None)
        self._revoked.discard(partition)
        self._unassigned.discard(partition)

    def _connected(self) -> psycopg.Connection[Any]:
        """Return the membership's own connection; by its end, others detect the session's end.

        Through a pooler there is no such connection: others then detect it when the lease expires,
        and released partitions are found by polling.
        """
        if self._connection is None or self._connection.closed:
            connection = self._connection = self.database.connect_directly("lalafo-session")
            pooled = through_pooler(connection)
            if pooled and self._leases.backend == OWN_BACKEND:
                log.warning(
                    "session.without_own_connection",
                    reason=f"{self.database.direct} leads through a pooler; set "
                    f"{DIRECT_URL_SETTING} to detect a killed session before its lease expires",
                )
            self._leases = replace(self._leases, backend=NO_BACKEND if pooled else OWN_BACKEND)
            if not pooled:
                connection.execute(f"LISTEN {CHANNEL}")
            self._renewed_at = 0.0
        return self._connection

    @contextmanager
    def _disconnecting(self) -> Iterator[None]:
        """Close the connection if the server behind it is read-only: it may be the old primary."""
        try:
            yield
        except psycopg.Error as error:
            if is_of_another_backend(error) and self._connection is not None:
                self._connection.close()
            raise
