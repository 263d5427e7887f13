"""A session's group membership: its row in `sessions`, its leases, and its next assignment.

A thread polls a few times a second, and at once when another session releases a partition. It
renews the session's row and leases, reads the other members, and applies the assignment of
`ops/session/assignment.py`, which all sessions compute from the same rows. Another thread asks for
the offsets of acquired partitions, so that renewal never waits for Kafka. The session receives
assigned and revoked partitions from `changes`. Does not depend on what the session does with them.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

import psycopg
import structlog

from ops.errors import RetryableError
from ops.isolation import is_crash
from ops.session.assignment import Assignment, decide_assignment
from ops.session.ports import PartitionAssigned, PartitionRevoked
from resources.postgres.database import Database
from resources.sessions.group.connection import OwnConnection
from resources.sessions.group.held import HeldPartitions
from resources.sessions.group.leases import NO_BACKEND, Connection, Leases, read_holders
from resources.sessions.group.members import (
    MembershipConfig,
    end_member,
    read_members,
    write_member,
)

POLL_S = 0.1
HOLDER_POLL_S = 0.25
"""A session that holds partitions has less to see: a successor that is ready, another's death."""
LEAVE_WITHIN_S = 0.5
"""How long `leave` waits for the lock, which a statement may hold while the server is frozen."""
JOIN_WITHIN_S, JOIN_EVERY_S = 60.0, 0.5
"""How long a session waits for PostgreSQL at its start; the sensor gives it 120 s to join."""
log = structlog.get_logger()


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
        self._own = OwnConnection(database)
        self._held = HeldPartitions()
        self._lock = threading.Lock()  # guards all of the above, and every write to the leases
        self._state = "warming"
        self._leaving = threading.Event()
        self._done = threading.Event()
        self._error: Exception | None = None
        self._renewed_at = 0.0
        self._ready_at: float | None = None  # monotonic; None: not ready, or it has acquired since
        self._acquired = threading.Event()  # set while `_unassigned` may have partitions
        self._threads = [
            threading.Thread(target=self._run, name="session-membership", daemon=True),
            threading.Thread(target=self._run_positions, name="session-positions", daemon=True),
        ]

    def __enter__(self) -> Self:
        deadline = time.monotonic() + JOIN_WITHIN_S
        while True:
            try:
                with self._own.errors():
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
        connection = self._own.current
        if connection is None:
            return
        try:
            self._leases.release(connection, self._held.epochs, failed=is_crash(error))
            end_member(connection, self.config.run_id)
        except psycopg.Error as failure:
            # The connection is closed next, which also ends the leases.
            log.warning("lease.release_failed", error=str(failure))
        connection.close()

    def abandon(self) -> None:
        """Release everything over a new connection, as a failed session does; renew nothing more.

        For a process that ends itself while its threads hang: it waits for no lock.
        """
        self._done.set()
        self._leaving.set()
        with self.database.connect_directly("lalafo-session") as connection:
            self._leases.release(connection, dict(self._held.epochs), failed=True)
            end_member(connection, self.config.run_id)

    def ready(self) -> None:
        """Announce that the session is warm and can be assigned partitions."""
        self._ready_at = time.monotonic()
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
        if not self._held.changes:
            return []
        with self._lock:
            return self._held.take_changes()

    def release(self, partition: int) -> None:
        """Release a partition; raises RetryableError if PostgreSQL is unavailable."""
        with self._lock:
            epoch = self._held.epochs.get(partition)
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
                self._held.forget(partition)

    def mark_lost(self, partition: int) -> None:
        """Drop a partition whose commit failed because another session has its lease."""
        with self._lock:
            self._held.lose({partition})

    def acquire_again(self, partition: int) -> None:
        """Release a partition and acquire it anew, from the offset that `positions` returns then.

        Raises RetryableError if PostgreSQL is unavailable; then nothing has changed.
        """
        self.release(partition)
        with self._lock:
            self._held.changes.append(PartitionRevoked(partition, lost=True))

    def extend(self, partitions: Sequence[int]) -> None:
        """Follow the topic, which has these partitions now."""
        self._partitions = tuple(partitions)

    def leave(self) -> None:
        """Revoke all partitions of the session, and acquire no more; returns in any case."""
        if not self._leaving.is_set():
            self._leaving.set()
            if self._lock.acquire(timeout=LEAVE_WITHIN_S):
                try:
                    self._held.revoke(self._held.epochs)
                finally:
                    self._lock.release()

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
                with self._own.errors():
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
        if self._held.unassigned:
            self._acquired.set()
        if self._leases.backend == NO_BACKEND:
            self._done.wait(POLL_S)
            return
        # Sleeps until another session releases a partition.
        poll_s = HOLDER_POLL_S if self._held.epochs else POLL_S
        for _ in connection.notifies(timeout=poll_s, stop_after=1):
            pass

    def _renew(self, connection: Connection) -> None:
        write_member(connection, self.config, state=self.state, backend=self._leases.backend)
        with self._lock:
            if self._held.epochs:
                renewed = self._leases.renew(connection, self._held.epochs)
                self._held.lose(self._held.epochs.keys() - renewed)
        self._renewed_at = time.monotonic()

    def _set_state(self, state: str) -> None:
        self._state = state
        self._renewed_at = 0.0  # the next poll writes it

    def _compute_assignment(self, connection: Connection) -> Assignment:
        config = self.config
        members = read_members(connection, config.stream_id, config.topic)
        holders: dict[int, str | None] = dict.fromkeys(self._partitions)
        holders.update(read_holders(connection, config.stream_id, config.topic))
        with self._lock:
            # An expired lease of this session is renewed, not acquired again, unless another
            # session has acquired it.
            for partition in self._held.epochs:
                if holders.get(partition) is None:
                    holders[partition] = config.run_id
        return decide_assignment(
            config.run_id,
            members,
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
            with self._lock:  # `leave` may not have got it
                self._held.revoke(self._held.epochs)
            return
        with self._lock:
            self._held.revoke(assignment.release)
            # Checked again under the lock: `leave` revokes once, and may have run since.
            if assignment.acquire and not self.left:
                self._acquire(connection, assignment.acquire)

    def _acquire(self, connection: Connection, partitions: Sequence[int]) -> None:
        """Acquire partitions; those that no session has held wait for this session's start.

        That is so for its first partitions alone, unless another session held them until it was
        ready: that is a handover, or the death of a holder that had a standby.
        """
        ready_at = self._ready_at
        ready_s = 0.0 if ready_at is None else time.monotonic() - ready_at
        leases = self._leases.acquire_since(connection, partitions, ready_s=ready_s)
        waited = [lease.partition for lease in leases if lease.unheld and ready_at is not None]
        self._held.acquire({lease.partition: lease.epoch for lease in leases}, waited=waited)
        if leases:
            self._ready_at = None

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
            epochs = self._held.unassigned_epochs()
        if not epochs:
            return
        offsets = self._positions(sorted(epochs))
        with self._lock:
            self._held.assign(epochs, offsets)

    def _connected(self) -> Connection:
        own = self._own
        if own.is_open:
            assert own.current is not None
            return own.current
        connection = own.open()
        self._leases = replace(self._leases, backend=own.backend)
        self._renewed_at = 0.0
        return connection
