"""The finder of duplicates: looks at the ads that sessions commit, and at those it lacks.

Owns the order of its work: what was committed comes before what was there already. One finder
works, by a lease; others stand by. Each ad is compared outside of a transaction and written in one,
so that a killed finder repeats an ad and loses none.
"""

import time
from collections import deque
from dataclasses import dataclass

import structlog

from ops.types import AdKey
from resources.changes.worker import PAUSE_S, ChangeWorker, Group, OnDone
from resources.duplicates import changes
from resources.duplicates.changes import Change
from resources.duplicates.comparison import compare
from resources.duplicates.photo_matches import (
    BEHIND,
    USUAL,
    VERSION,
    Effort,
    PhotoComparer,
)
from resources.duplicates.prints import Prints
from resources.duplicates.writing import write
from resources.postgres.database import Database
from resources.storage.photos import PhotoStore

BATCH_ADS, BEHIND_ADS = 20, 10

log = structlog.get_logger()


@dataclass(slots=True)
class Counts:
    """What a finder did."""

    ads: int = 0  # looked at; again for each revision
    pairs: int = 0  # of ads that were compared
    looked_at: int = 0  # pairs of photos, by their binary features
    compared: int = 0  # pairs of photos, by their pixels
    photo_pairs: int = 0  # found
    events: int = 0
    unreadable: int = 0  # photos


class Finder(ChangeWorker):
    """Finds duplicates while it has the lease.

    Args:
        store: of the photos.
        topic: of `ads.scored`.
        counts: what to count in; None: in new ones.
    """

    def __init__(
        self,
        database: Database,
        group: Group,
        store: PhotoStore,
        *,
        topic: str,
        run_id: str,
        counts: Counts | None = None,
        on_done: OnDone = lambda _: None,
    ) -> None:
        super().__init__(database, group, name="duplicates", batch=1, on_done=on_done)
        self.counts = Counts() if counts is None else counts
        self._comparer = PhotoComparer(Prints(store))
        self._topic = topic
        self._run_id = run_id
        self._started: int | None = None  # the epoch in which commits queue their ads
        self._missing: deque[Change] = deque()
        self._position: AdKey | None = AdKey("", "")  # of the look for missing ads; None: done
        self._queued = False

    def work(self, epoch: int) -> int:
        """Look at the ads that are queued, or else at some that are missing; return how many."""
        if self._started != epoch:
            changes.start(self._database, epoch)
            self._started, self._position = epoch, AdKey("", "")
            self._missing.clear()
        with self._database.cursor() as cursor:
            found = changes.next_changes(cursor, limit=BATCH_ADS)
            self._queued = not found and changes.waits(cursor)
        effort = BEHIND if len(found) >= BEHIND_ADS else USUAL
        found = found or self._next_missing()
        for change in found:
            self._look_at(change, epoch, effort=effort)
        return len(found)

    def wait(self) -> None:
        """Wait for a commit; where vectors are being renewed before that, for a moment."""
        if self._queued:
            time.sleep(PAUSE_S)
        else:
            super().wait()

    def _look_at(self, change: Change, epoch: int, *, effort: Effort) -> None:
        done = compare(self._database, self._comparer, change.key, effort=effort)
        with self._database.cursor() as cursor:
            written = write(cursor, epoch, change, done, topic=self._topic, run_id=self._run_id)
        counts = self.counts
        counts.ads += 1
        counts.pairs += len(done.ads)
        counts.photo_pairs += len(done.found)
        counts.events += written.events
        self._on_done(written.waited_s)
        counts.looked_at = self._comparer.looked_at
        counts.compared = self._comparer.compared
        counts.unreadable = self._comparer.prints.unreadable

    def _next_missing(self) -> list[Change]:
        while not self._missing and self._position is not None:
            with self._database.cursor() as cursor:
                missing, self._position = changes.next_missing(
                    cursor, self._position, version=VERSION
                )
            self._missing.extend(missing)
            if self._position is None:
                log.info("duplicates.complete")
        return [self._missing.popleft() for _ in range(min(BATCH_ADS, len(self._missing)))]
