"""A Kafka consumer that reads one topic from exact offsets.

An offset outside the log raises an error and is never reset silently. A broker that is unreachable
for seconds raises RetryableError; the same consumer continues once the broker is back. Does not
use consumer groups or rebalances: the caller passes partitions and offsets, which are stored in
PostgreSQL.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ops.errors import LalafoError
from ops.types import StreamRecord
from resources.kafka.connection import StreamConfig, broker_errors, check_reachable, open_client

OFFSETS_TIMEOUT_S = 3.0
_SILENCE_S = 2.0  # without a record for longer, `poll` checks that the broker answers
_FETCH_WAIT_MS = 250
_LATE_FETCH_WAIT_MS = 20  # librdkafka's test broker answers only after the whole wait
_MAX_PARTITION_BYTES = 4 * 2**20  # twice the largest record, a dead letter
_MAX_FETCH_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class OffsetOutOfLog:
    """A position outside the log: trimmed by retention, or an offset of another log."""

    topic: str
    partition: int
    offset: int  # the next one to read
    beginning: int  # first offset in the log, inclusive
    end: int  # exclusive; `offset == end` is a valid position

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: offset {self.offset} is outside the log "
            f"[{self.beginning}, {self.end}]"
        )


class OffsetOutOfLogError(LalafoError):
    """Positions are outside the log; the caller chooses new ones and calls `assign` again.

    A position before the beginning means that retention removed records; one beyond the end means
    that the log is another one.
    """

    def __init__(self, positions: tuple[OffsetOutOfLog, ...]) -> None:
        super().__init__("; ".join(str(position) for position in positions))
        self.positions = positions


class StreamConsumer:
    """A reader of one topic; not thread-safe. Close it, or use it in a `with`.

    Partitions cannot be paused. kafka-python 3.0.12 sets the records of a paused partition aside,
    and never returns them once another partition has been drained. What is not polled is not
    fetched.
    """

    def __init__(self, config: StreamConfig, topic: str) -> None:
        """Connect; raises RetryableError where no broker answers."""
        from kafka import KafkaConsumer

        self.topic = topic
        self._config = config
        self._answered_at = time.monotonic()  # when the broker last proved to be reachable
        self._next: dict[int, int] = {}  # by partition, the offset after the last returned record
        self._consumer: Any = open_client(
            config,
            KafkaConsumer,
            group_id=None,  # a group would add requests to its coordinator on the hot path
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_LATE_FETCH_WAIT_MS if config.answers_late else _FETCH_WAIT_MS,
            fetch_max_bytes=_MAX_FETCH_BYTES,
            max_partition_fetch_bytes=_MAX_PARTITION_BYTES,
            metrics_enabled=False,
        )

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets; replaces the previous assignment.

        Args:
            offsets: partition to the next offset to read; empty removes the assignment.

        Raises:
            OffsetOutOfLogError: lists every position outside the log; nothing has changed.
        """
        outside = self.outside_log(offsets)
        if outside != ():
            raise OffsetOutOfLogError(outside)
        self._consumer.assign([self._tp(partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(self._tp(partition), offset)
        self._next = dict(offsets)

    def warm_up(self) -> None:
        """Connect to the topic's partition leaders now, so that the first `assign` is fast."""
        self.end_offsets(sorted(self._consumer.partitions_for_topic(self.topic) or ()))

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """Return the next records, ascending within a partition; [] if none arrived in time.

        Returns as soon as there is any record. After a RetryableError, call it again: it continues
        at the same positions once the broker is back.

        Raises:
            OffsetOutOfLogError: the log was trimmed past a position, or was replaced.
            RetryableError: nothing arrived for seconds and the broker does not answer.
        """
        from kafka.errors import OffsetOutOfRangeError

        with broker_errors(self._config, f"reading {self.topic}"):
            try:
                batches = self._consumer.poll(
                    timeout_ms=int(timeout_s * 1000), max_records=max_records
                )
            except OffsetOutOfRangeError as error:
                positions = {tp.partition: offset for tp, offset in error.args[0].items()}
                outside = self.outside_log(positions)
                if outside == ():  # back in the log since then: the next poll reads it
                    return []
                raise OffsetOutOfLogError(outside) from error
        records = [_record(raw) for batch in batches.values() for raw in batch]
        self._next.update({record.partition: record.offset + 1 for record in records})
        now = time.monotonic()
        if records != []:
            self._answered_at = now
        elif now - self._answered_at > _SILENCE_S and self._consumer.assignment() != set():
            check_reachable(self._config)
            self.end_offsets(self.assigned())
            self._answered_at = time.monotonic()
        return records

    def position(self, partition: int) -> int:
        """Return the offset of the next record that `poll` returns from an assigned partition."""
        with broker_errors(self._config, f"reading {self.topic}"):
            return int(
                self._consumer.position(
                    self._tp(partition), timeout_ms=int(OFFSETS_TIMEOUT_S * 1000)
                )
            )

    def lags(self) -> dict[int, int]:
        """Return partition to its number of unread records as of the last fetch; thread-safe."""
        lags = {}
        for partition, following in list(self._next.items()):
            state = self._consumer._subscription.assignment.get(self._tp(partition))
            if state is not None and state.highwater is not None:
                lags[partition] = max(0, state.highwater - following)
        return lags

    def assigned(self) -> list[int]:
        """Return the assigned partitions, ascending."""
        return sorted(tp.partition for tp in self._consumer.assignment())

    def beginning_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return partition to the first offset in its log; {} for no partitions."""
        return self._offsets(self._consumer.beginning_offsets, partitions)

    def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return partition to the offset of the next record to be published; {} for none."""
        return self._offsets(self._consumer.end_offsets, partitions)

    def outside_log(self, offsets: Mapping[int, int]) -> tuple[OffsetOutOfLog, ...]:
        """Return the positions that are before the beginning or beyond the end of their log."""
        beginnings = self.beginning_offsets(offsets)
        ends = self.end_offsets(offsets)
        return tuple(
            OffsetOutOfLog(self.topic, partition, offset, beginnings[partition], ends[partition])
            for partition, offset in sorted(offsets.items())
            if not beginnings[partition] <= offset <= ends[partition]
        )

    def close(self) -> None:
        """Close the connections; repeated calls do nothing."""
        self._consumer.close(autocommit=False, timeout_ms=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _offsets(self, request: Any, partitions: Iterable[int]) -> dict[int, int]:
        topic_partitions = [self._tp(partition) for partition in partitions]
        if topic_partitions == []:
            return {}
        with broker_errors(self._config, f"requesting the offsets of {self.topic}"):
            offsets = request(topic_partitions, timeout_ms=int(OFFSETS_TIMEOUT_S * 1000))
        return {tp.partition: int(offset) for tp, offset in offsets.items()}

    def _tp(self, partition: int) -> Any:
        from kafka import TopicPartition

        return TopicPartition(self.topic, partition)


def _record(raw: Any) -> StreamRecord:
    return StreamRecord(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        value=raw.value,
        headers=tuple((name, value) for name, value in raw.headers),
    )
