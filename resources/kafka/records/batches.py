"""The records of one fetch, decoded one at a time; names the batch that can't be decoded.

kafka-python 3.0.12 decodes too, but its error does not name the partition, a header key that isn't
UTF-8 is an error of the whole batch, and after an error its fetcher never returns. Owns the rules
of `read_committed` and what is known of a batch that can't be read. Does not need a connection.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ops.types import StreamRecord
from resources.kafka.records.format import (
    MAGIC_AT,
    PREFIX,
    Header,
    Record,
    damage_of,
    decode_records,
    header_of,
    is_abort,
)

_MOST_KEPT_BYTES = 2**20
_BEYOND_THE_END = 2**20  # a broker may append more than it has said, before it answers


@dataclass(frozen=True, slots=True)
class UnreadableBatch:
    """Records that can't be decoded, and what is known of them."""

    topic: str
    partition: int
    offset: int  # the first one
    next_offset: int  # the first one after them, as far as the headers can be trusted
    base_offset: int  # of their batch
    reason: str
    codec: str = ""  # "": unknown
    records: int | None = None
    newest: datetime | None = None  # UTC: the latest timestamp, as the header says
    data: bytes = field(default=b"", repr=False)  # as fetched, at most 1 MiB
    by_broker: bool = False  # the broker can't read its own log, so nothing says where they end

    def __str__(self) -> str:
        known = [f"{self.records} records"] if self.records is not None else []
        known += [f"compressed with {self.codec}"] if self.codec not in ("", "none") else []
        known += [f"the newest of {self.newest:%Y-%m-%d %H:%M:%S} UTC"] if self.newest else []
        facts = f" ({', '.join(known)})" if known else ""
        if self.by_broker:
            where = f"{self.topic}[{self.partition}]: offsets from {self.offset} on"
            return f"{where} can't be read: {self.reason}"
        return (
            f"{self.topic}[{self.partition}]: offsets {self.offset} to {self.next_offset - 1}"
            f"{facts} can't be read: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class _Batch:
    """The place of one batch in the fetched bytes."""

    start: int
    end: int
    base_offset: int
    next_offset: int
    header: Header | None  # None: version 0 or 1


class _UnreadableError(Exception):
    def __init__(self, batch: UnreadableBatch) -> None:
        super().__init__(str(batch))
        self.batch = batch


class FetchedRecords:
    """The records of one fetch of one partition; `take` them.

    Args:
        data: whole batches; a last one that is cut short is fetched again.
        position: the offset that was fetched; records before it are not returned.
        end: of the log, as the broker says; -1: unknown.
        aborted: (first offset, producer id) of each aborted transaction in the data.
        skipped: base offsets of damaged batches that are ignored.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        data: bytes,
        *,
        position: int,
        end: int = -1,
        aborted: Sequence[tuple[int, int]] = (),
        skipped: Collection[int] = (),
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset = position  # after the last record that was taken or passed over
        self.done = False
        self.unreadable: UnreadableBatch | None = None  # why it is done before its end
        self.end_offset = position  # where the next fetch continues
        self.leader_epoch = -1  # of the last batch
        self._data = data
        self._most = 2**63 if end < 0 else end + _BEYOND_THE_END
        self._skipped = skipped
        self._aborted = deque(sorted(aborted))
        self._aborting: set[int] = set()
        self._damaged: UnreadableBatch | None = None
        self._batches = self._find_batches()
        self._records = self._iterate()

    def take(self, most: int) -> list[StreamRecord]:
        """Return up to `most` records, fewer only if no more can be read: then it is `done`."""
        records: list[StreamRecord] = []
        try:
            while len(records) < most:
                records.append(next(self._records))
        except StopIteration:
            self.done = True
        except _UnreadableError as error:
            self.done = True
            self.unreadable = error.batch
        return records

    def _find_batches(self) -> list[_Batch]:
        """Find the batches, up to the first one that is damaged; checks every CRC."""
        found: list[_Batch] = []
        start, data = 0, self._data
        while len(data) - start > MAGIC_AT:
            base, length = PREFIX.unpack_from(data, start)
            end = start + PREFIX.size + length
            if end > len(data) and start > 0:
                break  # cut short
            reason = (
                damage_of(data, start, end) if end <= len(data) else "its length is beyond the data"
            )
            if reason is None and found and base < found[-1].next_offset:  # outside the CRC
                reason = f"its first offset is {base}, behind those of the batch before it"
            if reason is None and base > self._most:
                reason = f"its first offset is {base}, far beyond the end of the log"
            if reason is None:
                header = header_of(data, start) if data[start + MAGIC_AT] == 2 else None
                following = base + 1 + (0 if header is None else header.last_offset_delta)
                found.append(_Batch(start, end, base, following, header))
                self.end_offset = max(self.end_offset, following)
                self.leader_epoch = -1 if header is None else header.leader_epoch
            elif base not in self._skipped or end <= start:
                self._damaged = self._damage(start, end, base, reason)
                break
            start = end
        if self._damaged is None and start == 0 and data:
            self._damaged = self._damage(0, len(data), self.end_offset, "it has no header")
        return found

    def _damage(self, start: int, end: int, base: int, reason: str) -> UnreadableBatch:
        data = self._data
        offset = max(base if base <= self._most else 0, self.end_offset)
        header = header_of(data, start) if base <= self._most else None
        following = offset + 1
        if header is not None:
            following = max(following, base + header.last_offset_delta + 1)
        if start < end <= len(data) - PREFIX.size:
            next_base = PREFIX.unpack_from(data, end)[0]
            if offset < next_base:
                following = min(following, next_base)
        chunk = data[start : end if start < end else len(data)]
        return UnreadableBatch(
            *(
                self.topic,
                self.partition,
                offset,
                following,
                base,
                f"the batch is damaged: {reason}",
            ),
            data=chunk[:_MOST_KEPT_BYTES],
        )

    def _iterate(self) -> Iterator[StreamRecord]:
        for batch in self._batches:
            try:
                if not self._passes_over(batch):
                    yield from self._records_of(batch)
            except Exception as error:
                # Whatever a codec or odd bytes raise is a fault of this batch alone.
                raise _UnreadableError(self._undecodable(batch, error)) from error
            self.next_offset = max(self.next_offset, batch.next_offset)
        if self._damaged is not None:
            raise _UnreadableError(self._damaged)

    def _records_of(self, batch: _Batch) -> Iterator[StreamRecord]:
        first = self.next_offset
        if batch.header is None:
            records = self._of_an_old_version(batch)
        else:
            records = decode_records(batch.header, self._data, batch.start, batch.end)
        for offset, timestamp_ms, key, value, headers in records:
            if offset >= first:
                self.next_offset = offset + 1
                yield StreamRecord(
                    *(self.topic, self.partition, offset, timestamp_ms, key, value, headers)
                )

    def _of_an_old_version(self, batch: _Batch) -> Iterator[Record]:
        from kafka.record.legacy_records import LegacyRecordBatch

        data = self._data[batch.start : batch.end]
        for record in LegacyRecordBatch(data, data[MAGIC_AT]):
            if not record.validate_crc():
                raise ValueError(f"the CRC of the record at {record.offset} does not match")
            timestamp_ms = -1 if record.timestamp is None else record.timestamp
            yield Record(record.offset, timestamp_ms, record.key, record.value, ())

    def _passes_over(self, batch: _Batch) -> bool:
        """Whether the batch is a transaction's marker, or belongs to an aborted transaction."""
        header = batch.header
        if header is None:
            return False
        while self._aborted and self._aborted[0][0] < batch.next_offset:
            self._aborting.add(self._aborted.popleft()[1])
        if header.is_control:
            if header.producer_id in self._aborting and is_abort(
                header, self._data, batch.start, batch.end
            ):
                self._aborting.discard(header.producer_id)
            return True
        return header.is_transactional and header.producer_id in self._aborting

    def _undecodable(self, batch: _Batch, error: Exception) -> UnreadableBatch:
        offset, header = max(self.next_offset, batch.base_offset), batch.header
        return UnreadableBatch(
            *(self.topic, self.partition, offset, max(batch.next_offset, offset + 1)),
            batch.base_offset,
            f"{type(error).__name__}: {error}",
            codec="" if header is None else header.codec,
            records=None if header is None else header.records,
            newest=None if header is None else header.newest,
            data=self._data[batch.start : batch.end][:_MOST_KEPT_BYTES],
        )
