"""Publishes accepted ads again whose records the topic has lost.

A record is deleted from the outbox once Kafka has acknowledged it, and a log may lose it after
that: a broker that keeps it in memory ends, a disk is lost, the retention is shorter than the
sessions are behind. Owns which ads those are. Does not depend on how the outbox is published, nor
on clocks: an ad that merely waits behind a long backlog is not published again.

An ad is lost if it is accepted, not committed, not in the outbox, and everything that was on the
topic since then has been processed. So first the ads are read, then the topic's ends; once the
committed offsets reach those ends, whatever is still missing is lost. Revisions make it harmless to
publish an event twice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from resources.kafka.topics import AdStream
from resources.postgres.cursors import CursorSource
from resources.upkeep.lost_ads_statements import (
    DUE,
    FORGET,
    OFFSETS,
    PUBLISH,
    RECHECK,
    SCAN,
    SETTLE,
    STILL_WAITING,
)

OLDER_THAN_S = 60.0
"""More recent ads are not looked at: sessions are scoring them."""

AGAIN_S = 60.0
"""Seconds until an ad that was published again is looked at again, doubling each time."""

MOST_DOUBLINGS = 10  # 17 hours
SCAN_ROWS = 5_000
BATCH_ADS = 500
BATCHES = 10  # of one call

Cursor = psycopg.Cursor[Any]
Position = tuple[str, str, str]
Suspect = tuple[str, str, int, bool]  # catalog, ad_id, revision, whether it is in the outbox

_START: Position = ("-infinity", "", "")


@dataclass(frozen=True, slots=True)
class TopicEnds:
    """The offsets of the ads topic's log at one moment, by partition."""

    stream_id: str
    begins: Mapping[int, int]  # the first offset
    ends: Mapping[int, int]  # the next offset that Kafka will assign


def topic_ends(stream: AdStream) -> TopicEnds:
    """Ask Kafka for the offsets of the ads topic."""
    return TopicEnds(stream.stream_id(), stream.beginning_offsets(), stream.end_offsets())


class LostAds:
    """Looks for lost ads; one object a process, which remembers up to where it has looked.

    Several processes may look at the same time: each ad is published again by one of them. A new
    object begins with the oldest accepted ad.

    Args:
        topic: the topic of ad events.
        older_than_s: seconds since an ad was accepted before it is looked at.
        again_s: seconds until an ad that was published again is looked at again; doubles each time.
    """

    def __init__(
        self, topic: str, *, older_than_s: float = OLDER_THAN_S, again_s: float = AGAIN_S
    ) -> None:
        self._topic = topic
        self._older_than_s = older_than_s
        self._again_s = again_s
        self._after = self._next = _START
        self._suspects: list[Suspect] = []
        self._barrier: TopicEnds | None = None
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether the last call looked at everything that there was."""
        return self._finished

    @property
    def waiting(self) -> bool:
        """Whether ads wait for the committed offsets to show that they are lost."""
        return self._suspects != []

    def publish(self, database: CursorSource, ends: Callable[[], TopicEnds]) -> int:
        """Put the events of lost ads into the outbox, and return their number.

        A call looks at a bounded number of ads; the next call continues. Kafka is asked only if
        accepted ads are not committed.

        Raises:
            RetryableError: PostgreSQL or Kafka is unavailable; the next call repeats.
        """
        published = 0
        for _ in range(BATCHES):
            if not self._suspects and not self._find(database):
                self._finished = True
                break
            self._finished = False
            try:
                if self._suspects and not self._passed(database, ends()):
                    break
            except BaseException:
                self._suspects, self._barrier = [], None  # the offsets were not read after the ads
                raise
            published += self._publish(database)
        return published

    def _find(self, database: CursorSource) -> bool:
        """Read the next ads that are not committed; False if there is nothing more to look at."""
        at, catalog, ad_id = self._after
        values = {
            **{"at": at, "catalog": catalog, "ad_id": ad_id, "topic": self._topic},
            **{"older_than_s": self._older_than_s, "rows": SCAN_ROWS, "batch": BATCH_ADS},
        }
        with database.cursor() as cursor:
            cursor.execute(FORGET, values)
            cursor.execute(DUE, values)
            due: list[Suspect] = cursor.fetchall()
            cursor.execute(SCAN, values)
            scanned, last, last_waiting, waiting = cursor.fetchall()[0]
        if scanned:
            # If the batch is full, the scan goes on behind its last ad.
            self._next = tuple(last_waiting if len(waiting) == BATCH_ADS else last)
        self._suspects = [*due, *(tuple(suspect) for suspect in waiting)]
        self._barrier = None
        return bool(scanned or due)

    def _passed(self, database: CursorSource, now: TopicEnds) -> bool:
        """Whether everything has been processed that was on the topic when the ads were read."""
        barrier = self._barrier
        if barrier is None:
            barrier = self._barrier = now
        if now.stream_id != barrier.stream_id:
            return True  # another log: the one in which the records were is gone
        with database.cursor() as cursor:
            cursor.execute(OFFSETS, (barrier.stream_id, self._topic))
            committed = dict(cursor.fetchall())
        return all(
            # What is before the log's beginning, or beyond its end, nobody can read any more.
            max(committed.get(partition, 0), now.begins.get(partition, end))
            >= min(end, now.ends.get(partition, end))
            for partition, end in barrier.ends.items()
        )

    def _publish(self, database: CursorSource) -> int:
        suspects, self._suspects, self._barrier = self._suspects, [], None
        values = {
            "topic": self._topic,
            "catalogs": [suspect[0] for suspect in suspects],
            "ad_ids": [suspect[1] for suspect in suspects],
            "revisions": [suspect[2] for suspect in suspects],
            "queued": [suspect[3] for suspect in suspects],
        }
        lost: list[tuple[str, str, Any]] = []
        if suspects:
            with database.cursor() as cursor:
                cursor.execute(STILL_WAITING, values)
                rows = cursor.fetchall()
                lost = [row[:3] for row in rows if not row[3]]
                self._recheck(cursor, [row[:2] for row in rows if row[3]], times=0)
                self._recheck(cursor, [row[:2] for row in lost], times=1)
                keys = [f"{catalog}/{ad_id}".encode() for catalog, ad_id, _ in lost]
                events = [_compact(event) for _, _, event in lost]
                cursor.execute(PUBLISH, (self._topic, keys, events))
                cursor.execute(SETTLE, values)
        self._after = self._next
        return len(lost)

    def _recheck(self, cursor: Cursor, ads: Sequence[tuple[str, str]], *, times: int) -> None:
        if not ads:
            return
        values = {
            **{"times": times, "again_s": self._again_s, "doublings": MOST_DOUBLINGS},
            **{"catalogs": [ad[0] for ad in ads], "ad_ids": [ad[1] for ad in ads]},
        }
        cursor.execute(RECHECK, values)


def _compact(event: Any) -> bytes:
    """The record's value: as long as the first one, which was checked against Kafka's limit."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
