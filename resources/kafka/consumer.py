"""Read one topic from exact offsets: what a session run drains.

Decides that an offset outside the log is told and never reset, and that a broker away for
seconds is told too, while the same consumer goes on by itself once the broker is back. Refuses to
know groups and rebalances: partitions and offsets come from the caller, who has them from
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
_SILENCE_S = 2.0  # polls that bring nothing for so long ask whether the broker is there
_FETCH_WAIT_MS = 250
_LATE_FETCH_WAIT_MS = 20  # librdkafka's test broker answers only after the whole wait
_MAX_PARTITION_BYTES = 4 * 2**20  # twice the largest record, a dead letter
_MAX_FETCH_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class OffsetOutOfLog:
    """A position that the log does not have: trimmed away, or of another log."""

    topic: str
    partition: int
    offset: int  # the next one wanted
    beginning: int  # first offset in the log, inclusive
    end: int  # exclusive; `offset == end` is a position like any other

    def __str__(self) -> str:
        return (
            f"{self.topic}[{self.partition}]: offset {self.offset} is outside the log "
            f"[{self.beginning}, {self.end}]"
        )


class OffsetOutOfLogError(LalafoError):
    """Positions outside the log: count it, decide where to go on, and `assign` again.

    Before the beginning, records were lost to retention; beyond the end, the log is another one.
    """

    def __init__(self, positions: tuple[OffsetOutOfLog, ...]) -> None:
        super().__init__("; ".join(str(position) for position in positions))
        self.positions = positions


class StreamConsumer:
    """A reader of one topic; not for several threads at once. Close it, or use it in a `with`.

    There is no pause: what is not polled is not fetched. kafka-python 3.0.12 sets the records of a
    paused partition aside, and once another partition has been drained never gives them back.
    """

    def __init__(self, config: StreamConfig, topic: str) -> None:
        """Raises RetryableError where no broker answers."""
        from kafka import KafkaConsumer

        self.topic = topic
        self._config = config
        self._proof_at = time.monotonic()
        self._next: dict[int, int] = {}  # the offset after the last record handed out
        self._consumer: Any = open_client(
            config,
            KafkaConsumer,
            group_id=None,  # a group's coordinator would be asked on the hot path
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_LATE_FETCH_WAIT_MS if config.answers_late else _FETCH_WAIT_MS,
            fetch_max_bytes=_MAX_FETCH_BYTES,
            max_partition_fetch_bytes=_MAX_PARTITION_BYTES,
            metrics_enabled=False,
        )

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, in place of what was assigned before.

        Args:
            offsets: partition to the next offset to read; empty assigns nothing.

        Raises:
            OffsetOutOfLogError: for every position that is outside the log; nothing changed.
        """
        outside = self.outside_log(offsets)
        if outside != ():
            raise OffsetOutOfLogError(outside)
        self._consumer.assign([self._tp(partition) for partition in offsets])
        for partition, offset in offsets.items():
            self._consumer.seek(self._tp(partition), offset)
        self._next = dict(offsets)

    def warm_up(self) -> None:
        """Connect to the topic's leaders now, so that the first `assign` need not."""
        self.end_offsets(sorted(self._consumer.partitions_for_topic(self.topic) or ()))

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """The next records, ascending within a partition; [] where none came in time.

        Returns as soon as there is any. After a RetryableError the same call goes on where it
        was once the broker is back.

        Raises:
            OffsetOutOfLogError: the log was trimmed past a position, or was replaced.
            RetryableError: nothing came for seconds and the broker does not answer.
        """
        from kafka.errors import OffsetOutOfRangeError

        with broker_errors(self._config, f"reading {self.topic}"):
            try:
                batches = self._consumer.poll(
                    timeout_ms=int(timeout_s * 1000), max_records=max_records
                )
            except OffsetOutOfRangeError as error:
                wanted = {tp.partition: offset for tp, offset in error.args[0].items()}
                outside = self.outside_log(wanted)
                if outside == ():  # in the log again meanwhile: the next poll reads it
                    return []
                raise OffsetOutOfLogError(outside) from error
        records = [_record(raw) for batch in batches.values() for raw in batch]
        self._next.update({record.partition: record.offset + 1 for record in records})
        now = time.monotonic()
        if records != []:
            self._proof_at = now
        elif now - self._proof_at > _SILENCE_S and self._consumer.assignment() != set():
            check_reachable(self._config)
            self.end_offsets(self.assigned())
            self._proof_at = time.monotonic()
        return records

    def position(self, partition: int) -> int:
        """The offset of the next record that `poll` will return of an assigned partition."""
        with broker_errors(self._config, f"reading {self.topic}"):
            return int(
                self._consumer.position(
                    self._tp(partition), timeout_ms=int(OFFSETS_TIMEOUT_S * 1000)
                )
            )

    def lags(self) -> dict[int, int]:
        """Partition to the events that wait in it, as of the last fetch; any thread may ask."""
        found = {}
        for partition, following in list(self._next.items()):
            state = self._consumer._subscription.assignment.get(self._tp(partition))
            if state is not None and state.highwater is not None:
                found[partition] = max(0, state.highwater - following)
        return found

    def assigned(self) -> list[int]:
        """The assigned partitions, ascending."""
        return sorted(tp.partition for tp in self._consumer.assignment())

    def beginning_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition to the first offset in its log; {} for no partitions."""
        return self._offsets(self._consumer.beginning_offsets, partitions)

    def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition to the offset that the next record published will get; {} for none."""
        return self._offsets(self._consumer.end_offsets, partitions)

    def outside_log(self, offsets: Mapping[int, int]) -> tuple[OffsetOutOfLog, ...]:
        """Those of the positions that are before the beginning or beyond the end of their log."""
        beginnings = self.beginning_offsets(offsets)
        ends = self.end_offsets(offsets)
        return tuple(
            OffsetOutOfLog(self.topic, partition, offset, beginnings[partition], ends[partition])
            for partition, offset in sorted(offsets.items())
            if not beginnings[partition] <= offset <= ends[partition]
        )

    def close(self) -> None:
        """Let go of the connections; repeats do nothing."""
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

    def _offsets(self, ask: Any, partitions: Iterable[int]) -> dict[int, int]:
        wanted = [self._tp(partition) for partition in partitions]
        if wanted == []:
            return {}
        with broker_errors(self._config, f"asking for the offsets of {self.topic}"):
            found = ask(wanted, timeout_ms=int(OFFSETS_TIMEOUT_S * 1000))
        return {tp.partition: int(offset) for tp, offset in found.items()}

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
