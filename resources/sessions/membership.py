"""A session's seat among the others: its row in `sessions`, its leases, and what it does next.

A thread looks every tenth of a second, and at once when a partition is given up: it keeps what is
ours alive, reads who else is there, and acts on `ops.sharing`, a decision that all sessions make
from the same rows. The session is told by `changes`; what it works on is its own business.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import psycopg
import structlog

from ops.errors import RetryableError
from ops.session.admission import Ownership
from ops.session.assignment import Assignment, Member, decide_assignment
from ops.session.ports import PartitionAssigned, PartitionRevoked
from resources.postgres.database import Database
from resources.sessions.leases import ALIVE, CHANNEL, ME, Connection, Leases

LOOK_S = 0.1
LONGEST_LEAD_S = 90.0
"""So long before a session is due, its successor is asked for: it has torch to import."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MembershipConfig:
    """What a session says of itself, and how many there shall be."""

    run_id: str
    stream_id: str
    topic: str
    partitions: tuple[int, ...]  # of the topic
    sessions: int
    session_s: float
    ttl_s: float  # a session that shows no life for so long is dead
    code_version: str
    metrics_url: str = ""

    @property
    def lead_s(self) -> float:
        """How long before its end a session's successor may stand beside it."""
        return lead_s(self.session_s)


def lead_s(session_s: float) -> float:
    """How long before its end a session's successor is asked for."""
    return min(LONGEST_LEAD_S, session_s / 2)


class SessionMembership:
    """One session's seat; a context manager. On entry others see it warming up.

    Args:
        position: the offset to read a partition from, once it is ours; it may raise
            RetryableError, and is asked again.
    """

    def __init__(
        self, database: Database, terms: MembershipConfig, *, position: Callable[[int], int]
    ) -> None:
        self.database = database
        self.terms = terms
        self._position = position
        self._leases = Leases(terms.stream_id, terms.topic, terms.run_id, terms.ttl_s)
        self._epochs: dict[int, int] = {}  # of the leases that we hold
        self._unread: set[int] = set()  # held, and the session not told yet where to read
        self._asked: set[int] = set()
        self._changes: list[PartitionAssigned | PartitionRevoked] = []
        self._lock = threading.Lock()  # of all the above, and of every write to our leases
        self._state = "warming"
        self._leaving = threading.Event()
        self._done = threading.Event()
        self._connection: Connection | None = None
        self._error: Exception | None = None
        self._renewed_at = 0.0
        self._keeper = threading.Thread(target=self._keep, name="session-seat", daemon=True)

    def __enter__(self) -> Self:
        with self.database.errors():
            self._renew(self._connected())
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._keeper.join()
        if self._connection is None:
            return
        try:
            self._leases.give_up(self._connection, self._epochs)
            self._connection.execute(
                "UPDATE lalafo.sessions SET state = 'leaving', expires_at = clock_timestamp() "
                "WHERE run_id = %s",
                (self.terms.run_id,),
            )
        except psycopg.Error as failure:
            # The connection closes next, and that ends the leases as well.
            log.warning("lease.release_failed", error=str(failure))
        self._connection.close()

    def ready(self) -> None:
        """Warm, and able to take partitions."""
        self._set_state("ready")

    def warm(self, releases: Sequence[str]) -> None:
        """Tell which releases are loaded; RetryableError where PostgreSQL is away."""
        with self.database.cursor() as cursor:
            cursor.execute(
                "UPDATE lalafo.sessions SET warm = %s WHERE run_id = %s",
                (list(releases), self.terms.run_id),
            )

    # --- the session's side

    def changes(self) -> list[PartitionAssigned | PartitionRevoked]:
        """What became of our partitions since the last call, in order.

        Raises what ended the keeper: a session whose seat nobody keeps must end.
        """
        if self._error is not None:
            raise self._error
        if not self._changes:
            return []
        with self._lock:
            changes, self._changes = self._changes, []
            return changes

    def give_up(self, partition: int) -> None:
        """Let go of a partition; RetryableError where PostgreSQL is away."""
        with self._lock:
            epoch = self._epochs.get(partition)
            if epoch is not None:
                with self.database.cursor() as cursor:
                    if self.left:
                        # In the same transaction: who wakes to take it must not count on us.
                        cursor.execute(
                            "UPDATE lalafo.sessions SET state = 'leaving' WHERE run_id = %s",
                            (self.terms.run_id,),
                        )
                    self._leases.give_up(cursor.connection, {partition: epoch})
                self._forget(partition)

    def lose(self, partition: int) -> None:
        """A commit found that another session has it."""
        with self._lock:
            self._lost({partition})

    def leave(self) -> None:
        """Ask the session for everything back, and take nothing more."""
        if not self._leaving.is_set():
            self._leaving.set()
            with self._lock:
                self._ask(self._epochs)

    @property
    def left(self) -> bool:
        """Whether we were told, or have decided, to leave."""
        return self._leaving.is_set()

    @property
    def state(self) -> str:
        """warming, ready or leaving."""
        return "leaving" if self.left else self._state

    # --- the keeper's thread

    def _keep(self) -> None:
        while not self._done.is_set():
            try:
                with self.database.errors():
                    self._look(self._connected())
            except RetryableError as error:
                log.warning("session.membership_not_renewed", error=str(error))
                self._done.wait(LOOK_S)
            except Exception as error:  # noqa: BLE001 - the thread's edge; `changes` raises it
                log.error("session.membership_failed", error=repr(error))
                self._error = error
                return

    def _look(self, connection: Connection) -> None:
        if time.monotonic() - self._renewed_at > self.terms.ttl_s / 4:
            self._renew(connection)
        self._act(self._decide(connection), connection)
        self._announce_assigned()
        # Sleeps, and wakes as soon as somebody gives a partition up.
        for _ in connection.notifies(timeout=LOOK_S, stop_after=1):
            pass

    def _renew(self, connection: Connection) -> None:
        terms = self.terms
        connection.execute(
            "INSERT INTO lalafo.sessions AS held (run_id, stream_id, topic, state, code_version, "
            "host, pid, metrics_url, backend_pid, backend_start, due_at, expires_at) "
            f"VALUES (%s, %s, %s, %s, %s, %s, %s, %s, pg_backend_pid(), {ME}, "
            "clock_timestamp() + %s * interval '1 second', "
            "clock_timestamp() + %s * interval '1 second') "
            "ON CONFLICT (run_id) DO UPDATE SET state = EXCLUDED.state, "
            "backend_pid = EXCLUDED.backend_pid, backend_start = EXCLUDED.backend_start, "
            "expires_at = EXCLUDED.expires_at",
            (
                *(terms.run_id, terms.stream_id, terms.topic, self.state, terms.code_version),
                *(socket.gethostname(), os.getpid(), terms.metrics_url),
                *(terms.session_s, terms.ttl_s),
            ),
        )
        with self._lock:
            if self._epochs:
                ours = self._leases.renew(connection, self._epochs)
                self._lost(self._epochs.keys() - ours)
        self._renewed_at = time.monotonic()

    def _set_state(self, state: str) -> None:
        self._state = state
        self._renewed_at = 0.0  # the next look writes it

    def _decide(self, connection: Connection) -> Assignment:
        terms = self.terms
        members = connection.execute(
            "SELECT run_id, state, started_at, "
            "extract(epoch FROM due_at - clock_timestamp())::float8, code_version "
            f"FROM lalafo.sessions WHERE stream_id = %s AND topic = %s AND {ALIVE}",
            (terms.stream_id, terms.topic),
        ).fetchall()
        holders: dict[int, str | None] = dict.fromkeys(terms.partitions)
        holders.update(
            connection.execute(
                "SELECT partition, run_id FROM lalafo.leases "
                f"WHERE stream_id = %s AND topic = %s AND {ALIVE}",
                (terms.stream_id, terms.topic),
            ).fetchall()
        )
        with self._lock:
            # A lease of ours that ran out is renewed, not taken anew, unless another has it.
            for partition in self._epochs:
                if holders.get(partition) is None:
                    holders[partition] = terms.run_id
        return decide_assignment(
            terms.run_id,
            [Member(*row) for row in members],
            holders,
            sessions=terms.sessions,
            lead_s=terms.lead_s,
        )

    def _act(self, decision: Assignment, connection: Connection) -> None:
        if decision.leave and not self.left:
            log.info("session.leaving", why="its successors are ready")
            self.leave()
        if self.left:
            if self._state != "leaving":
                self._set_state("leaving")
            return
        with self._lock:
            self._ask({p: self._epochs[p] for p in decision.release if p in self._epochs})
            # Asked again under the lock: `leave` may have come since, and asks once.
            if decision.acquire and not self.left:
                taken = self._leases.take(connection, decision.acquire)
                self._epochs.update(taken)
                self._unread.update(taken)

    def _announce_assigned(self) -> None:
        """Tell the session where to read what was taken; a failure is tried at the next look."""
        for partition in sorted(self._unread):
            offset = self._position(partition)
            with self._lock:
                if partition in self._unread and partition in self._epochs:
                    owner = Ownership(partition, self._epochs[partition])
                    self._changes.append(PartitionAssigned(owner, offset))
                    self._unread.discard(partition)

    # --- under the lock

    def _ask(self, epochs: Mapping[int, int]) -> None:
        for partition in sorted(epochs):
            if partition not in self._asked:
                self._asked.add(partition)
                self._unread.discard(partition)
                self._changes.append(PartitionRevoked(partition))

    def _lost(self, partitions: set[int]) -> None:
        for partition in sorted(partitions & self._epochs.keys()):
            log.warning("session.lease_lost", partition=partition)
            self._forget(partition)
            self._changes.append(PartitionRevoked(partition, lost=True))

    def _forget(self, partition: int) -> None:
        self._epochs.pop(partition, None)
        self._asked.discard(partition)
        self._unread.discard(partition)

    def _connected(self) -> psycopg.Connection[Any]:
        """A connection of the seat's own: its end is how others see ours."""
        if self._connection is None or self._connection.closed:
            url = self.database.url.set(drivername="postgresql")
            self._connection = psycopg.connect(
                url.render_as_string(hide_password=False),
                autocommit=True,
                connect_timeout=5,
                application_name="lalafo-session",
            )
            self._connection.execute(f"LISTEN {CHANNEL}")
            self._renewed_at = 0.0
        return self._connection
