"""The indexer: follows what sessions commit; builds, maintains and drops indexes beside it.

Owns the order of its work. Builds are made by a thread with connections of its own, so that changes
are followed meanwhile; one that is under way ends with the process, or when it is complete.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from ops.errors import LalafoError
from resources.changes.worker import ChangeWorker, Group, OnDone
from resources.postgres.database import Database
from resources.vector_search import indexes
from resources.vector_search.ad_vectors import follow, read_indexes
from resources.vector_search.maintenance import maintain

BATCH_ADS = 100
LOOK_FOR_INDEXES_S = 2.0
BUILD_AGAIN_S = 10.0
"""After a build that failed, such as for a full disk or an outage."""

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """What an indexer did."""

    changes: int = 0  # taken from the queue
    built: int = 0
    dropped: int = 0


class Indexer(ChangeWorker):
    """Renews vectors while it has the lease.

    Args:
        workers: parallel workers of PostgreSQL in a build.
        counts: what to count in; None: in new ones.
    """

    def __init__(
        self,
        database: Database,
        group: Group,
        *,
        workers: int = 0,
        counts: Counts | None = None,
        on_done: OnDone = lambda _: None,
    ) -> None:
        super().__init__(database, group, name="vectors", batch=BATCH_ADS, on_done=on_done)
        self.counts = Counts() if counts is None else counts
        self._workers = workers
        self._looked_at = float("-inf")  # monotonic seconds
        self._build: threading.Thread | None = None
        self._failed_at = float("-inf")  # monotonic seconds, of a build
        self._maintained: int | None = None  # the epoch in which the ready indexes were looked at

    def work(self, epoch: int) -> int:
        """Start the builds that are due, and renew what is queued; return the changes."""
        if time.monotonic() - self._looked_at > LOOK_FOR_INDEXES_S:
            self._look_for_indexes(epoch)
        began = time.monotonic()
        with self._database.cursor() as cursor:
            waited_s = follow(cursor, epoch, limit=BATCH_ADS)
        took_s = time.monotonic() - began
        self._on_done([before_s + took_s for before_s in waited_s])
        self.counts.changes += len(waited_s)
        return len(waited_s)

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
