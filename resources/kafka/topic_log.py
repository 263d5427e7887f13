"""A topic's log: its identity, its partitions, and positions that are outside it."""

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ops.errors import LalafoError, RetryableError
from resources.kafka.connection import StreamConfig, broker_errors, check_reachable

OFFSETS_TIMEOUT_S = 3.0
_METADATA_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class TopicLog:
    """What a topic is at one moment: a topic that is created again is another log."""

    id: str
    partitions: tuple[int, ...]  # those that can be read, ascending


@dataclass(frozen=True, slots=True)
class OffsetOutOfLog:
    """A position outside the log: trimmed by retention, or an offset of another log."""

    topic: str
    partition: int
    offset: int  # the next one to read
    beginning: int  # first offset in the log, inclusive
    end: int  # exclusive; `offset == end` is a valid position
    truncated: bool = False  # the log lost its records from `end` on, and may have others there

    def __str__(self) -> str:
        if self.truncated:
            return (
                f"{self.topic}[{self.partition}]: the log was truncated to {self.end}, before the "
                f"offset {self.offset} that was read; what is there now are other records"
            )
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


def read_bounds(
    config: StreamConfig, consumer: Any, topic: str, partitions: Iterable[int]
) -> dict[int, tuple[int, int]]:
    """Return partition to the first offset in its log and the end, by two requests for all.

    Args:
        consumer: kafka-python's; the end is that of its isolation level.

    Raises:
        RetryableError: Kafka is unavailable, or a partition has no leader yet.
    """
    from kafka import TopicPartition

    asked = [TopicPartition(topic, partition) for partition in partitions]
    if asked == []:
        return {}
    with broker_errors(config, f"requesting the offsets of {topic}"):
        beginnings = _offsets(consumer.beginning_offsets, asked)
        ends = _offsets(consumer.end_offsets, asked)
    return {tp.partition: (beginnings[tp], ends[tp]) for tp in asked}


def truncated_positions(
    topic: str,
    positions: Mapping[int, int],
    divergent: Mapping[Any, Any],
    bounds: Callable[[Iterable[int]], Mapping[int, tuple[int, int]]],
) -> tuple[OffsetOutOfLog, ...]:
    """Return the positions behind which the log was truncated, as by an unclean leader election.

    Args:
        positions: those of the consumer, by partition.
        divergent: of kafka-python's LogTruncationError: the ends, None where nobody knows.
    """
    ends = {tp.partition: end for tp, end in divergent.items() if tp.partition in positions}
    return tuple(
        OffsetOutOfLog(
            *(topic, partition, positions[partition], beginning),
            end if ends[partition] is None else ends[partition].offset,
            truncated=True,
        )
        for partition, (beginning, end) in bounds(ends).items()
    )


def check_answers(
    config: StreamConfig, consumer: Any, topic: str, partitions: Collection[int]
) -> None:
    """Raise RetryableError if no broker answers; one of the partitions may have no leader."""
    check_reachable(config)
    asked = random.sample(sorted(partitions), min(2, len(partitions)))
    for partition in asked:
        try:
            read_bounds(config, consumer, topic, [partition])
            return
        except RetryableError:
            if partition == asked[-1]:
                raise


def _offsets(request: Any, asked: list[Any]) -> dict[Any, int]:
    deadline = time.monotonic() + OFFSETS_TIMEOUT_S
    while True:
        try:
            found: dict[Any, int] = request(asked, timeout_ms=int(OFFSETS_TIMEOUT_S * 1000))
            return found
        except KeyError as error:
            # kafka-python 3.0.12 leaves out partitions that its metadata lacks, then looks for
            # them in the result. It has asked for the metadata meanwhile.
            if time.monotonic() > deadline:
                raise RetryableError(f"Kafka knows no offsets of {error} yet.") from error
            time.sleep(_METADATA_WAIT_S)
