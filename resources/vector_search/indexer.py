"""The indexer: follows what sessions commit; builds, maintains and drops indexes beside it.

Owns the order of its work. One indexer works, by a lease; others stand by. Builds are made by a
thread with connections of its own, so that changes are followed meanwhile. Does not depend on how
the lease is acquired and renewed: `Group` is the sessions' membership.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import structlog

from ops.errors import LalafoError, LeaseLostError, RetryableError
from resources.postgres.commit_notices import CHANNEL
from resources.postgres.connections import through_pooler
from resources.postgres.database import Database
from resources.vector_search import indexes
from resources.vector_search.ad_vectors import PARTITION, follow, read_indexes
from resources.vector_search.maintenance import maintain

BATCH_ADS = 100
PAUSE_S = 0.1
"""Between two looks: what comes meanwhile is renewed together."""

POLL_S = 1.0
"""How long a look waits for a commit's notice; a lost notice costs so much."""

LOOK_FOR_INDEXES_S = 2.0
BUILD_AGAIN_S = 10.0
"""After a build that failed, such as for a full disk or an outage."""

log = structlog.get_logger()


class Group(Protocol):
    """The membership in the group of indexers."""

    def changes(self) -> Sequence[Any]:
        """The lease acquired, with its epoch, or lost, since the last call."""

    def release(self, partition: int) -> None:
        """Give the lease to another indexer."""

    def mark_lost(self, partition: int) -> None:
        """Another indexer has the lease."""

    def leave(self) -> None:
        """Give up the lease, through `changes`."""

    @property
    def left(self) -> bool:
        """Whether a successor is ready."""


@dataclass(slots=True)
class Counts:
    """What an indexer did."""

    changes: int = 0  # taken from the queue
    built: int = 0
    dropped: int = 0


class Indexer:
    """Renews vectors while it has the lease.

    Args:
        workers: parallel workers of PostgreSQL in a build.
    """

    def __init__(self, database: Database, group: Group, *, workers: int = 0) -> None:
        self.counts = Counts()
        self._database = database
        self._group = group
        self._workers = workers
        self._epoch: int | None = None
        self._looked_at = float("-inf")  # monotonic seconds
        self._build: threading.Thread | None = None
        self._failed_at = float("-inf")  # monotonic seconds, of a build
        self._maintained: int | None = None  # the epoch in which the ready indexes were looked at
        self._notices: psycopg.Connection[Any] | None = None

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
                    log.warning("vectors.waiting", error=str(error))
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
            if time.monotonic() - self._looked_at > LOOK_FOR_INDEXES_S:
                self._look_for_indexes(self._epoch)
            with self._database.cursor() as cursor:
                taken = follow(cursor, self._epoch, limit=BATCH_ADS)
        except LeaseLostError:
            self._group.mark_lost(PARTITION)
            self._epoch = None
            return 0
        self.counts.changes += taken
        if taken < BATCH_ADS:
            self._wait()
        return taken

    def close(self) -> None:
        """Close the connection; a build under way ends with the process, or when it is complete."""
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _take_changes(self) -> None:
        for change in self._group.changes():
            owner = getattr(change, "owner", None)
            if owner is not None:
                self._epoch = owner.epoch
                log.info("vectors.lease_acquired", epoch=self._epoch)
                continue
            self._epoch = None
            if not change.lost:
                self._group.release(PARTITION)

    def _look_for_indexes(self, epoch: int) -> None:
        self._looked_at = time.monotonic()
        self.counts.dropped += len(indexes.drop_unused(self._database, epoch))
        rests = time.monotonic() - self._failed_at < BUILD_AGAIN_S
        if not rests and (self._build is None or not self._build.is_alive()):
            waiting = indexes.start_missing(self._database, epoch)
            maintained = self._maintained == epoch
            if waiting or not maintained:
                self._build = threading.Thread(
                    target=self._build_all, args=(waiting, epoch), name="vectors", daemon=True
                )
                self._build.start()

    def _build_all(self, waiting: Sequence[Any], epoch: int) -> None:
        try:
            for index in waiting:
                indexes.build(self._database, index, epoch, workers=self._workers)
                self.counts.built += 1
            if self._maintained != epoch:
                with self._database.cursor() as cursor:
                    found = read_indexes(cursor)
                for index in found:
                    if index not in waiting and index.state == "ready":
                        maintain(self._database, index)
                self._maintained = epoch
        except (LalafoError, psycopg.Error) as error:
            # A later look begins it again, where it ended.
            self._failed_at = time.monotonic()
            log.warning("vectors.build_interrupted", error=str(error))

    def _wait(self) -> None:
        """Wait for the notice of a commit; without a direct connection, for PAUSE_S."""
        time.sleep(PAUSE_S)
        with self._database.errors():
            if self._notices is None or self._notices.closed:
                self._notices = self._database.connect_directly("lalafo-vectors")
                if not through_pooler(self._notices):
                    self._notices.execute(f"LISTEN {CHANNEL}")
            for _ in self._notices.notifies(timeout=POLL_S, stop_after=1):
                pass
