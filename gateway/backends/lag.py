"""Consumer lag: the offsets of the ads topic in Kafka, and those that are committed in PostgreSQL.

Kafka is read by a thread, on demand. No caller waits for an unavailable broker: the result is then
None.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from ops.errors import LalafoError
from resources.kafka.topics import AdStream
from resources.settings import Settings

OFFSETS = """
    SELECT partition, next_offset FROM lalafo.stream_offsets
    WHERE stream_id = %(stream_id)s AND topic = %(topic)s"""
QUERY_EVERY_S = 2.0
MAX_AGE_S = 10.0  # older offsets are not returned
FIRST_WITHIN_S = 0.5
_CLOSE_WITHIN_S = 2.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """The offsets of the ads topic at a point in time (UTC)."""

    stream_id: str
    begins: Mapping[int, int]  # the first offset, by partition
    ends: Mapping[int, int]  # the end offset, of the same partitions
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """A partition's committed offset (None: none yet), its end offset, and their distance."""

    partition: int
    committed: int | None
    end: int
    lag: int


def partition_lags(cursor: psycopg.Cursor[Any], topic: str, log: LogEnds) -> list[Lag]:
    """Return the lag of each partition of the log, in order."""
    cursor.execute(OFFSETS, {"stream_id": log.stream_id, "topic": topic})
    committed: dict[int, int] = dict(cursor.fetchall())
    return [
        Lag(
            partition=partition,
            committed=committed.get(partition),
            end=end,
            # The end offset may be seconds old: offsets committed since then can be higher.
            lag=max(0, end - max(committed.get(partition, 0), log.begins[partition])),
        )
        for partition, end in sorted(log.ends.items())
    ]


class LogWatch:
    """Reads the offsets for one process. Call its methods in threads, not in the event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stream: AdStream | None = None
        self._latest: tuple[float, LogEnds | None] | None = None
        self._requested, self._answered, self._closing = (threading.Event() for _ in range(3))
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def ends(self) -> LogEnds | None:
        """The offsets of the last MAX_AGE_S; None while Kafka is unavailable.

        The first call, and one after a long pause, waits for up to FIRST_WITHIN_S.
        """
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-watch", daemon=True)
                self._thread.start()
        if self._recent() is None:
            self._answered.clear()
            self._requested.set()
            self._answered.wait(FIRST_WITHIN_S)
        self._requested.set()
        recent = self._recent()
        return None if recent is None else recent[1]

    def close(self) -> None:
        """Stop the thread and close the consumer."""
        self._closing.set()
        self._requested.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_WITHIN_S)

    def _recent(self) -> tuple[float, LogEnds | None] | None:
        latest = self._latest
        return latest if latest is not None and time.monotonic() - latest[0] < MAX_AGE_S else None

    def _run(self) -> None:
        while not self._closing.is_set():
            self._requested.wait()
            self._requested.clear()
            if self._closing.is_set():
                break
            self._latest = (time.monotonic(), self._query())
            self._answered.set()
            self._closing.wait(QUERY_EVERY_S)
        self._close_consumer()

    def _query(self) -> LogEnds | None:
        try:
            if self._stream is None:
                self._stream = AdStream.from_settings(self._settings)
            stream_id = self._stream.stream_id()
            bounds = self._stream.bounds()
            return LogEnds(
                stream_id,
                begins={partition: first for partition, (first, _) in bounds.items()},
                ends={partition: end for partition, (_, end) in bounds.items()},
                asked_at=datetime.now(UTC),
            )
        except LalafoError as error:
            log.info("end offsets could not be read from Kafka: %s", error)
        except Exception as error:  # noqa: BLE001 - the thread must go on: it retries later
            log.error("end offsets could not be read from Kafka: %r", error)
        self._close_consumer()
        return None

    def _close_consumer(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except Exception as error:  # noqa: BLE001 - the consumer is discarded anyway
                log.info("a Kafka consumer did not close cleanly: %r", error)
