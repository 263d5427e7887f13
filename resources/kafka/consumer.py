"""A Kafka consumer that reads one topic from exact offsets.

An offset outside the log raises an error and is never reset silently. A broker that is unreachable
for seconds raises RetryableError; the same consumer continues once the broker is back. Partitions
take turns, and one whose records can't be decoded is stopped alone. Reads committed transactions
only. Does not use consumer groups or rebalances: the caller passes partitions and offsets, which
are stored in PostgreSQL.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

from ops.types import StreamRecord
from resources.kafka.connection import StreamConfig, broker_errors, open_client
from resources.kafka.records.batches import FetchedRecords, UnreadableBatch
from resources.kafka.records.fetched import FetchedPartition, Turns
from resources.kafka.records.refused import RefusedPartitions
from resources.kafka.records.stopped import (
    StoppedPartition,
    StoppedPartitions,
    UnreadableBatchError,
)
from resources.kafka.topic_log import (
    OffsetOutOfLog,
    OffsetOutOfLogError,
    check_answers,
    read_bounds,
    truncated_positions,
)

_SILENCE_S = 2.0  # without a record for longer, `poll` checks that the broker answers
_FETCH_WAIT_MS = 100  # a partition that was handed out is fetched again after such a wait at most
_LATE_FETCH_WAIT_MS = 20  # librdkafka's test broker answers only after the whole wait
_MAX_PARTITION_BYTES = 2**19  # a larger batch is fetched whole; twice this is held of a partition
_MAX_FETCH_BYTES = 16 * 2**20
_FETCH_EVERY_S = 0.01  # a fetch costs 2 ms, also where it does not wait


class StreamConsumer:
    """A reader of one topic; not thread-safe, except `lags` and `stopped`. Close it, or use `with`.

    Args:
        isolates: a batch that can't be decoded stops its partition, which `stopped` returns, and
            the others are read on; otherwise it raises UnreadableBatchError.
    """

    def __init__(
        self,
        config: StreamConfig,
        topic: str,
        *,
        isolates: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect; raises RetryableError where no broker answers."""
        from kafka import KafkaConsumer

        self.topic = topic
        self._config = config
        self._isolates = isolates
        self._answered_at = time.monotonic()  # when the broker last proved reachable
        self._next: dict[int, int] = {}  # by partition, the offset after the last returned record
        self._turns = Turns()
        self._fetched_at = 0.0
        self._stuck: list[FetchedRecords] = []
        self._stopped = StoppedPartitions(clock)
        self._consumer: Any = open_client(
            config,
            KafkaConsumer,
            group_id=None,  # a group would add requests to its coordinator on the hot path
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=config.answers_late,  # a deleted topic must not come back
            fetch_max_wait_ms=_LATE_FETCH_WAIT_MS if config.answers_late else _FETCH_WAIT_MS,
            fetch_max_bytes=_MAX_FETCH_BYTES,
            max_partition_fetch_bytes=_MAX_PARTITION_BYTES,
            metrics_enabled=False,
        )
        fetcher = self._consumer._fetcher
        self._refused = RefusedPartitions(fetcher, topic, clock)
        fetcher.PartitionRecords = partial(
            FetchedPartition,
            skipped=self._stopped.skipped,
            end=self._refused.end,
            stuck=self._stuck,
        )

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets; replaces the previous assignment.

        A partition that is at its offset already keeps what was fetched, and stays stopped.

        Args:
            offsets: partition to the next offset to read; empty removes the assignment.

        Raises:
            OffsetOutOfLogError: lists every position outside the log; nothing has changed.
        """
        # Not those that it reads on: one without a leader would hold up the others.
        added = {p: offset for p, offset in offsets.items() if self._next.get(p) != offset}
        outside = self.outside_log(added)
        if outside != ():
            raise OffsetOutOfLogError(outside)
        self._consumer.assign([self._tp(partition) for partition in offsets])
        for partition in self._next.keys() | offsets.keys():
            if self._next.get(partition) != offsets.get(partition):
                self._turns.drop(partition)
                self._stopped.forget(partition)
                if partition in offsets:
                    self._seek(partition, offsets[partition])
        self._next = dict(offsets)

    def warm_up(self) -> None:
        """Connect to the topic's partition leaders now, so that the first `assign` is fast."""
        self.bounds(self._consumer.partitions_for_topic(self.topic) or ())

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """Return the next records, ascending within a partition; [] if none arrived in time.

        Returns as soon as there is any record; each partition gets an equal share. After a
        RetryableError, call it again: it continues at the same positions once the broker is back.

        Raises:
            OffsetOutOfLogError: the log was trimmed past a position, or was replaced.
            RetryableError: nothing arrived for seconds and the broker does not answer.
            UnreadableBatchError: only where it does not isolate.
        """
        if len(self._turns) == 0:
            self._fetch(timeout_s)
        elif time.monotonic() - self._fetched_at > _FETCH_EVERY_S:
            self._fetch(0)  # of the partitions of which nothing is left
        records, unreadable = self._turns.take(max_records, self._next)
        for batch in [*unreadable, *self._refused.take(self._behind, self.bounds)]:
            self._next[batch.partition] = batch.offset
            self._stopped.stop(batch)
            self._consumer.pause(self._tp(batch.partition))
        now = time.monotonic()
        if records != []:
            self._stopped.note(records)
            self._answered_at = now
        elif not self._isolates and (stopped := self._stopped.now()):
            raise UnreadableBatchError(next(iter(stopped.values())).batch)
        elif now - self._answered_at > _SILENCE_S and self._next:
            check_answers(self._config, self._consumer, self.topic, self._next)
            self._answered_at = time.monotonic()
        return records

    def positions(self) -> dict[int, int]:
        """Return partition to the first offset that may still return a record.

        It is past the last one, and past what holds none: transactions' markers and aborted
        records, records that compaction removed, skipped batches.
        """
        return dict(self._next)

    def stopped(self) -> dict[int, StoppedPartition]:
        """Return the partitions whose next records can't be decoded; thread-safe.

        `poll` tries them again, at longer and longer intervals up to a minute.
        """
        return self._stopped.now()

    def passed(self) -> list[UnreadableBatch]:
        """Return the batches that could not be decoded and are sent no more, once each."""
        return self._stopped.passed()

    def skip(self, partition: int) -> None:
        """Continue a stopped partition behind the records that can't be decoded."""
        _, end = self.bounds([partition])[partition]
        self._next[partition] = self._stopped.skip(partition, end)
        self._seek(partition, self._next[partition])

    def lags(self) -> dict[int, int]:
        """Return partition to its number of unread offsets as of the last fetch; thread-safe."""
        from kafka.errors import IllegalStateError

        lags = {}
        for partition, following in list(self._next.items()):
            with contextlib.suppress(IllegalStateError, KeyError):  # assigned no more
                end = self._consumer.highwater(self._tp(partition))
                if end is not None:
                    lags[partition] = max(0, end - following)
        return lags

    def assigned(self) -> list[int]:
        """Return the assigned partitions, ascending."""
        return sorted(self._next)

    def bounds(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return partition to the first offset in its log and the end (exclusive); {} for none.

        The end is that of committed transactions.
        """
        return read_bounds(self._config, self._consumer, self.topic, partitions)

    def outside_log(self, offsets: Mapping[int, int]) -> tuple[OffsetOutOfLog, ...]:
        """Return the positions that are before the beginning or beyond the end of their log."""
        bounds = self.bounds(offsets)
        return tuple(
            OffsetOutOfLog(self.topic, partition, offset, *bounds[partition])
            for partition, offset in sorted(offsets.items())
            if not bounds[partition][0] <= offset <= bounds[partition][1]
        )

    def close(self) -> None:
        """Close the connections; repeated calls do nothing."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch(self, timeout_s: float) -> None:
        """Fetch partitions of which nothing is left, and pause those of which something came."""
        from kafka.errors import KafkaError, LogTruncationError, OffsetOutOfRangeError

        self._resume()
        self._stuck.clear()
        fetched: list[FetchedRecords] = []
        with broker_errors(self._config, f"reading {self.topic}"):
            try:
                partitions = self._consumer.poll(
                    timeout_ms=int(timeout_s * 1000), max_records=len(self._next) + 1
                )
                fetched = [records for items in partitions.values() for records in items]
            except OffsetOutOfRangeError as error:
                positions = {tp.partition: offset for tp, offset in error.args[0].items()}
                outside = self.outside_log(positions)
                if outside != ():  # otherwise back in the log since then: the next poll reads it
                    raise OffsetOutOfLogError(outside) from error
            except LogTruncationError as error:
                cut = error.divergent_offsets
                truncated = truncated_positions(self.topic, self._next, cut, self.bounds)
                if truncated != ():
                    raise OffsetOutOfLogError(truncated) from error
            except KafkaError:
                if not self._stuck:
                    raise
        self._fetched_at = time.monotonic()
        for records in [*fetched, *self._stuck]:
            self._turns.add(records)
            self._consumer.pause(self._tp(records.partition))

    def _behind(self) -> dict[int, int]:
        """Return the positions of those that are fetched and not at the end of their log."""
        waiting = {p for p, stopped in self._stopped.now().items() if not stopped.is_fetched}
        return {
            partition: self._next[partition]
            for partition, lag in self.lags().items()
            if lag > 0 and partition not in self._turns and partition not in waiting
        }

    def _resume(self) -> None:
        """Let those partitions be fetched of which nothing is left, or whose retry is due."""
        for partition, offset in self._stopped.due(self._next).items():
            self._seek(partition, offset)
        stopped = self._stopped.now()
        for tp in self._consumer.paused():
            if tp.partition not in self._turns and tp.partition not in stopped:
                self._consumer.resume(tp)

    def _seek(self, partition: int, offset: int) -> None:
        self._consumer.seek(self._tp(partition), offset)
        self._consumer.resume(self._tp(partition))

    def _tp(self, partition: int) -> Any:
        from kafka import TopicPartition

        return TopicPartition(self.topic, partition)
