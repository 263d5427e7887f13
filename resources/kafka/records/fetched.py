"""What was fetched and not handed out yet: partitions take turns, so that none waits for a backlog.

Owns the seam to kafka-python 3.0: `Fetcher.PartitionRecords`, the class that decodes one fetched
partition, is replaced on one consumer by `FetchedPartition`, which hands the bytes over undecoded.
`tests/integration/resources/kafka/test_consumer.py` fails if a later version has another seam.
"""

from collections.abc import Callable, Collection
from typing import Any

from ops.types import StreamRecord
from resources.kafka.records.batches import FetchedRecords, UnreadableBatch

Skipped = Callable[[int], Collection[int]]


class FetchedPartition:
    """Stands for kafka-python's `PartitionRecords`: its one record is all that was fetched.

    kafka-python creates it with what a broker returned for a partition, calls `take` once, reads
    `next_fetch_offset` and `leader_epoch`, and continues there.
    """

    def __init__(
        self,
        fetch_offset: int,
        tp: Any,
        records: Any,
        *,
        skipped: Skipped,
        end: Callable[[], int],
        stuck: list[FetchedRecords],
        aborted_transactions: Any = None,
        on_drain: Callable[[Any], None] = lambda _: None,
        **_: object,
    ) -> None:
        self.topic_partition = tp
        self.next_fetch_offset = fetch_offset
        self.leader_epoch = -1
        self.bytes_read = records.size_in_bytes()
        self._on_drain = on_drain
        self._records: FetchedRecords | None = FetchedRecords(
            tp.topic,
            tp.partition,
            bytes(records._buffer),  # MemoryRecords has no public name for its bytes
            position=fetch_offset,
            end=end(),
            aborted=[(one.first_offset, one.producer_id) for one in aborted_transactions or ()],
            skipped=skipped(tp.partition),
        )
        if self.bytes_read > 0 and not records.has_next():
            stuck.append(self._records)  # kafka-python raises next, and does not say for what

    def __bool__(self) -> bool:
        return self._records is not None

    def take(self, _: int | None = None) -> list[FetchedRecords]:
        """Return all that was fetched as one item; [] where it is nothing."""
        records = self._records
        self.drain()
        if records is None or self.bytes_read == 0:
            return []
        self.next_fetch_offset = records.end_offset
        self.leader_epoch = records.leader_epoch
        return [records]

    def drain(self) -> None:
        """Give up what was not taken."""
        if self._records is not None:
            self._records = None
            self._on_drain(self)


class Turns:
    """Fetched records by partition; hands them out in turns."""

    def __init__(self) -> None:
        self._fetched: dict[int, FetchedRecords] = {}  # the next partition first

    def __contains__(self, partition: int) -> bool:
        return partition in self._fetched

    def __len__(self) -> int:
        return len(self._fetched)

    def add(self, records: FetchedRecords) -> None:
        """Add what was fetched of a partition that has nothing left here."""
        assert records.partition not in self._fetched, "fetched before the last was handed out"
        self._fetched[records.partition] = records

    def drop(self, partition: int) -> None:
        """Forget what was fetched of a partition."""
        self._fetched.pop(partition, None)

    def take(
        self, most: int, positions: dict[int, int]
    ) -> tuple[list[StreamRecord], list[UnreadableBatch]]:
        """Return up to `most` records, an equal share of each partition that has so many.

        Args:
            positions: is updated with each partition's next offset.

        Returns:
            The records, ascending within a partition, and the batches that can't be read. Nothing
            is left of a partition with such a batch.
        """
        taken: list[StreamRecord] = []
        unreadable: list[UnreadableBatch] = []
        while self._fetched and len(taken) < most:
            share = max(1, (most - len(taken)) // len(self._fetched))
            for partition in list(self._fetched):
                records = self._fetched.pop(partition)
                taken += records.take(min(share, most - len(taken)))
                positions[partition] = records.next_offset
                if not records.done:
                    self._fetched[partition] = records  # behind the others
                elif records.unreadable is not None:
                    unreadable.append(records.unreadable)
                if len(taken) >= most:
                    break
        return taken, unreadable
