"""Records that a broker itself can't read from its disk: it sends an error for them, or nothing.

Kafka answers CORRUPT_MESSAGE or UNKNOWN_SERVER_ERROR for a partition whose log is damaged in a
length or a version, and sends nothing, at any fetch, where a length is beyond the end of its file.
Owns how such a partition is distinguished from an outage, and from one that waits for its turn.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ops.errors import RetryableError
from resources.kafka.records.batches import UnreadableBatch

_EVERY_S, _EVERY_S_IN_AN_OUTAGE = 10.0, 60.0
_FETCHES = 20  # between two checks: a session that is at its limits does not fetch

Bounds = Callable[[Collection[int]], Mapping[int, tuple[int, int]]]


class RefusedPartitions:
    """What the brokers refuse to one consumer.

    Args:
        fetcher: kafka-python's; an error of one partition no longer hides the others' records.
    """

    def __init__(self, fetcher: Any, topic: str, clock: Callable[[], float]) -> None:
        self._parse = fetcher._parse_fetched_data
        self._topic = topic
        self._clock = clock
        self._refused: list[UnreadableBatch] = []
        self._end = -1
        self._fetches, self._check_at = 0, clock() + _EVERY_S
        self._positions: dict[int, int] = {}  # at the last check, of those behind their log's end
        self._silent: dict[int, int] = {}  # of those that had not moved then
        fetcher._parse_fetched_data = self._parse_one

    def take(
        self, behind: Callable[[], Mapping[int, int]], bounds: Bounds
    ) -> list[UnreadableBatch]:
        """Return what was refused since the last call; call it after each fetch.

        Args:
            behind: the positions of partitions that are fetched and are not at their log's end.
            bounds: as `StreamConsumer.bounds`.
        """
        refused, self._refused = self._refused, []
        self._fetches += 1
        if self._fetches >= _FETCHES and self._clock() >= self._check_at:
            refused += self._check(behind(), bounds)
        return refused

    def end(self) -> int:
        """Return the end of the log that belongs to the fetch that is being parsed."""
        return self._end

    def _parse_one(self, fetch: Any) -> Any:
        """Stand for kafka-python's `_parse_fetched_data`, whose error names no partition."""
        from kafka import errors

        self._end = fetch.partition_data.high_watermark
        try:
            return self._parse(fetch)
        except (errors.OffsetOutOfRangeError, errors.TopicAuthorizationFailedError):
            raise
        except errors.KafkaError as error:
            if fetch.partition_data.error_code == 0:
                raise
            name = type(error).__name__
            reason = f"the broker can't read them from its log, and answers {name}"
            self._refuse(fetch.topic_partition.partition, fetch.fetched_offset, reason)
            return None

    def _refuse(self, partition: int, offset: int, reason: str) -> None:
        self._refused.append(
            UnreadableBatch(
                *(self._topic, partition, offset, offset + 1, offset, reason), by_broker=True
            )
        )

    def _check(self, positions: Mapping[int, int], bounds: Bounds) -> list[UnreadableBatch]:
        """Return those that have not moved since the last two checks, though more is committed."""
        still = {p: at for p, at in positions.items() if self._positions.get(p) == at}
        every_s = _EVERY_S
        try:
            ends = {partition: end for partition, (_, end) in bounds(still).items()}
        except RetryableError:  # one may have no leader
            ends, every_s = {}, _EVERY_S_IN_AN_OUTAGE
        silent = {p: at for p, at in still.items() if ends.get(p, at) > at}
        for partition, at in silent.items():
            if self._silent.get(partition) == at:
                end = ends[partition]
                reason = f"the broker sends nothing from there on, though its log ends at {end}"
                self._refuse(partition, at, reason)
        self._positions, self._silent = dict(positions), silent
        self._fetches, self._check_at = 0, self._clock() + every_s
        refused, self._refused = self._refused, []
        return refused
