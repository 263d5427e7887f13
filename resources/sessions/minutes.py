"""A session's counts by minute in `lalafo.stream_minutes`, so that statistics need not count ads.

Owns what is counted. A row always has the total of its session in its minute, so a retried write
counts nothing twice. While PostgreSQL is unavailable, counts stay in memory; a session that is
killed loses the counts since its last write.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from ops.isolation import describe, divided
from ops.outcomes import AdOutcome, Batch, CommitResult
from ops.session.latency_histogram import bucket_of
from resources.postgres.database import Database
from resources.postgres.faults import Fault, fault_of

MAX_AGE = timedelta(hours=1)
"""Written minutes that are older than this are evicted: no commit is counted so late."""

WAITED = "waited_for_session"
"""In the place of "total" for ads that waited for the session's start; the gateway reads it."""

log = structlog.get_logger()

Counts = dict[str, Counter[Any]]


@dataclass(slots=True)
class Minute:
    """One session's counts in one minute.

    `earlier`: whether the counts of an earlier process of this run have been read and added.
    """

    events: int = 0
    photos: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    labels: Counts = field(default_factory=dict)  # by task
    failures: Counter[str] = field(default_factory=Counter)  # by reason
    latencies: Counts = field(default_factory=dict)  # by stage; by bucket
    earlier: bool = False

    def add(self, batch: Batch, result: CommitResult) -> None:
        """Count a commit."""
        self.events += batch.events
        self.failures.update(letter.failure.reason.value for letter in batch.dead_letters)
        live = batch.releases[0] if batch.releases else None
        for ad in batch.ads:
            if ad.event.key in result.accepted:
                self._add_ad(ad, live, result.committed_at)

    def _add_ad(self, ad: AdOutcome, live: str | None, committed_at: datetime) -> None:
        self.statuses[ad.status.value] += 1
        self.photos += len(ad.photos)
        for photo in ad.photos:
            if photo.failure is not None:
                self.failures[photo.failure.reason.value] += 1
        for item in ad.predictions.get(live, ()) if live is not None else ():
            _of(self.labels, item.task)[item.label] += 1
        times = ad.times
        total = WAITED if ad.receipt.waited_for_session else "total"
        for stage, ms in (
            (total, (committed_at - ad.receipt.kafka_at).total_seconds() * 1e3),
            ("fetch", times.fetch_ms),
            ("photos", times.photos_ms),
            ("queued", times.queued_ms),
            ("embed", times.embed_ms),
            ("predict", times.predict_ms),
        ):
            _of(self.latencies, stage)[bucket_of(ms)] += 1

    def add_row(self, row: Sequence[Any]) -> None:
        """Add the counts of a stored row: events, photos and the four counters, as in `row`."""
        events, photos, statuses, labels, failures, latencies = row
        self.events += events
        self.photos += photos
        self.statuses.update(statuses)
        self.failures.update(failures)
        for task, counts in labels.items():
            _of(self.labels, task).update(counts)
        for stage, counts in latencies.items():
            _of(self.latencies, stage).update({int(b): n for b, n in counts.items()})

    def row(self) -> tuple[Any, ...]:
        """Return the columns after the key."""
        return (
            *(self.events, self.photos, Jsonb(dict(self.statuses)), Jsonb(_plain(self.labels))),
            *(Jsonb(dict(self.failures)), Jsonb(_plain(self.latencies))),
        )


class MinuteTally:
    """One session's counts by minute; thread-safe."""

    def __init__(self, database: Database, run_id: str) -> None:
        self.database = database
        self.run_id = run_id
        self._minutes: dict[datetime, Minute] = {}
        self._unwritten: set[datetime] = set()
        self._lock = threading.Lock()

    def add(self, batch: Batch, result: CommitResult) -> None:
        """Count a commit in its minute, without writing."""
        minute = result.committed_at.replace(second=0, microsecond=0)
        with self._lock:
            self._minutes.setdefault(minute, Minute()).add(batch, result)
            self._unwritten.add(minute)

    def write(self) -> None:
        """Write the minutes that have changed since the last write, if there are any.

        A minute that PostgreSQL rejects is given up, and logged; the others are written.

        Raises:
            RetryableError: PostgreSQL is unavailable; the next call writes them.
        """
        with self._lock:
            minutes = sorted(self._unwritten)
            self._unwritten.clear()
        if not minutes:
            return
        try:
            divided(minutes, self._write, _give_up, is_fault=_is_of_values)
        except BaseException:
            with self._lock:
                self._unwritten.update(minutes)
            raise
        self._evict()

    def _read_earlier(self, minutes: Sequence[datetime]) -> None:
        """Add the stored counts of these minutes, before their first write by this process.

        A run whose process died may continue in another process within the same minute.
        """
        if not minutes:
            return
        with self.database.cursor() as cursor:
            cursor.execute(
                "SELECT minute, events, photos, statuses, labels, failures, latencies "
                "FROM lalafo.stream_minutes WHERE run_id = %s AND minute = ANY(%s)",
                (self.run_id, list(minutes)),
            )
            rows = cursor.fetchall()
        with self._lock:
            for minute, *counts in rows:
                self._minutes[minute].add_row(counts)
            for minute in minutes:
                self._minutes[minute].earlier = True

    def _write(self, minutes: Sequence[datetime]) -> tuple[()]:
        self._read_earlier([minute for minute in minutes if not self._minutes[minute].earlier])
        with self._lock:
            rows = [(minute, self.run_id, *self._minutes[minute].row()) for minute in minutes]
        with self.database.cursor() as cursor:
            # A crash may lose the last second of statistics, but no ads.
            cursor.execute("SET LOCAL synchronous_commit = off")
            cursor.executemany(
                "INSERT INTO lalafo.stream_minutes "
                "(minute, run_id, events, photos, statuses, labels, failures, latencies) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (minute, run_id) DO UPDATE SET events = EXCLUDED.events, "
                "photos = EXCLUDED.photos, statuses = EXCLUDED.statuses, "
                "labels = EXCLUDED.labels, failures = EXCLUDED.failures, "
                "latencies = EXCLUDED.latencies, updated_at = now()",
                rows,
            )
        return ()

    def _evict(self) -> None:
        with self._lock:
            oldest = max(self._minutes) - MAX_AGE
            for minute in [m for m in self._minutes if m < oldest and m not in self._unwritten]:
                del self._minutes[minute]


def _is_of_values(error: BaseException) -> bool:
    """Whether a minute can't be written for what it holds; any other error may pass."""
    if isinstance(error, psycopg.Error):
        return fault_of(error) is Fault.DATA
    return isinstance(error, ValueError | TypeError)


def _give_up(minute: datetime, error: BaseException) -> tuple[()]:
    log.error("session.minute_rejected", minute=minute.isoformat(), error=describe(error))
    return ()


def _of(counts: Counts, name: str) -> Counter[Any]:
    counter = counts.get(name)
    if counter is None:
        counter = counts[name] = Counter()
    return counter


def _plain(counts: Mapping[str, Mapping[Any, int]]) -> dict[str, dict[str, int]]:
    return {name: {str(item): count for item, count in of.items()} for name, of in counts.items()}
