"""A worker that follows what sessions commit: it works while it has the lease, and waits else.

Owns when it works, and how it waits for a commit. One worker of a kind works; others stand by. Does
not depend on what it does, nor on how the lease is acquired and renewed: `Group` is the sessions'
membership.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import psycopg
import structlog

from ops.errors import LeaseLostError, RetryableError
from resources.changes.lease import PARTITION
from resources.postgres.commit_notices import CHANNEL
from resources.postgres.connections import through_pooler
from resources.postgres.database import Database

PAUSE_S = 0.1
"""Between two looks: what comes meanwhile is done together."""

POLL_S = 1.0
"""How long a look waits for a commit's notice; a lost notice costs so much."""

OnDone = Callable[[Sequence[float]], object]

log = structlog.get_logger()


class Group(Protocol):
    """The membership in the group of workers of one kind."""

    def changes(self) -> Sequence[Any]:
        """The lease acquired, with its epoch, or lost, since the last call."""

    def release(self, partition: int) -> None:
        """Give the lease to another worker."""

    def mark_lost(self, partition: int) -> None:
        """Another worker has the lease."""

    def leave(self) -> None:
        """Give up the lease, through `changes`."""

    @property
    def left(self) -> bool:
        """Whether a successor is ready."""


class ChangeWorker(ABC):
    """Does `work` again and again while it has the lease.

    Args:
        name: of its connection and its lines in the log, such as "vectors".
        batch: `work` waits for a commit once it returns less.
        on_done: called with the seconds since their commits of the changes that are done.
    """

    def __init__(
        self,
        database: Database,
        group: Group,
        *,
        name: str,
        batch: int,
        on_done: OnDone = lambda _: None,
    ) -> None:
        self._database = database
        self._group = group
        self._name = name
        self._batch = batch
        self._on_done = on_done
        self._epoch: int | None = None
        self._notices: psycopg.Connection[Any] | None = None

    @abstractmethod
    def work(self, epoch: int) -> int:
        """Do what is to be done now; return how many changes that were.

        Raises:
            LeaseLostError: another worker has the lease; nothing was written.
            RetryableError: PostgreSQL or the store is unavailable.
        """

    def run(self, stopped: Callable[[], bool]) -> None:
        """Work until `stopped`, or until a successor is ready.

        An outage is waited for.

        Raises:
            Exception: PostgreSQL refuses a statement, or the membership has failed.
        """
        try:
            while not stopped() and not (self._group.left and self._epoch is None):
                try:
                    self.step()
                except RetryableError as error:
                    log.warning(f"{self._name}.waiting", error=str(error))
                    time.sleep(POLL_S)
        finally:
            self.close()

    def step(self) -> int:
        """Do what is to be done now, and wait a moment if it is nothing; return the changes."""
        self._take_changes()
        if self._epoch is None:
            time.sleep(PAUSE_S)
            return 0
        try:
            done = self.work(self._epoch)
        except LeaseLostError:
            self._group.mark_lost(PARTITION)
            self._epoch = None
            return 0
        if done < self._batch:
            self.wait()
        return done

    def close(self) -> None:
        """Close the connection for notices."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _take_changes(self) -> None:
        for change in self._group.changes():
            owner = getattr(change, "owner", None)
            if owner is not None:
                self._epoch = owner.epoch
                log.info(f"{self._name}.lease_acquired", epoch=self._epoch)
                continue
            self._epoch = None
            if not change.lost:
                self._group.release(PARTITION)

    def wait(self) -> None:
        """Wait for the notice of a commit; without a direct connection, for POLL_S."""
        time.sleep(PAUSE_S)
        with self._database.errors():
            if self._notices is None or self._notices.closed:
                self._notices = self._database.connect_directly(f"lalafo-{self._name}")
                if not through_pooler(self._notices):
                    self._notices.execute(f"LISTEN {CHANNEL}")
            for _ in self._notices.notifies(timeout=POLL_S, stop_after=1):
                pass
