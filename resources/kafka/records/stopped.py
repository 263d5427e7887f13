"""Partitions that are not read on, because their next records can't be decoded.

Owns when they are tried again: after half a second, then at longer and longer intervals up to a
minute, because a broker's fault may pass and a missing codec may be installed.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ops.errors import LalafoError
from ops.types import StreamRecord
from resources.kafka.records.batches import UnreadableBatch

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class StoppedPartition:
    """A stopped partition."""

    batch: UnreadableBatch
    attempts: int  # how often the records were fetched and could not be decoded
    retry_at: float  # by the clock; infinity while they are fetched again

    @property
    def is_fetched(self) -> bool:
        """Whether they are being fetched again."""
        return self.retry_at == math.inf


class UnreadableBatchError(LalafoError):
    """A batch can't be decoded; its partition is stopped."""

    def __init__(self, batch: UnreadableBatch) -> None:
        super().__init__(str(batch))
        self.batch = batch


class StoppedPartitions:
    """The stopped partitions of one consumer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stopped: dict[int, StoppedPartition] = {}
        self._skipped: dict[int, set[int]] = {}  # by partition, base offsets
        self._passed: list[UnreadableBatch] = []

    def now(self) -> dict[int, StoppedPartition]:
        """Return those that are stopped; thread-safe."""
        return dict(self._stopped)

    def stop(self, batch: UnreadableBatch) -> None:
        """Stop a partition, or count another attempt."""
        earlier = self._stopped.get(batch.partition)
        again = earlier is not None and earlier.batch.offset == batch.offset
        attempts = 0 if earlier is None or not again else earlier.attempts
        if again and earlier is not None and batch.by_broker and not earlier.batch.by_broker:
            # Its bytes may have come with those before it: the broker sends none from its offset.
            known = earlier.batch.reason
            reason = known if "; the broker" in known else f"{known}; {batch.reason}"
            batch = replace(earlier.batch, reason=reason)
        pause_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 4**attempts)
        stopped = StoppedPartition(batch, attempts + 1, self._clock() + pause_s)
        self._stopped[batch.partition] = stopped

    def due(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Return those to try again now, with their offsets.

        Args:
            positions: by partition; one behind the offset where it stopped is stopped no more.
        """
        due: dict[int, int] = {}
        for partition, stopped in list(self._stopped.items()):
            if positions[partition] > stopped.batch.offset:
                del self._stopped[partition]
            elif stopped.retry_at <= self._clock():
                due[partition] = stopped.batch.offset
                self._stopped[partition] = replace(stopped, retry_at=math.inf)
        return due

    def note(self, records: Sequence[StreamRecord]) -> None:
        """Take note of what was read on of stopped partitions.

        If the records that could not be decoded are not among it, the broker sends them no more:
        what is damaged is the offset, by which it finds them.
        """
        for partition, stopped in self._stopped.items():
            first = next((r.offset for r in records if r.partition == partition), None)
            if first is not None and first > stopped.batch.offset:
                self._passed.append(stopped.batch)

    def passed(self) -> list[UnreadableBatch]:
        """Return those that the broker sends no more, once each."""
        passed, self._passed = self._passed, []
        return passed

    def skip(self, partition: int, end: int) -> int:
        """Skip the records that can't be decoded; return where to continue.

        Args:
            end: of the log, exclusive; a damaged header may say anything.
        """
        batch = self._stopped.pop(partition).batch
        self._skipped.setdefault(partition, set()).add(batch.base_offset)
        return max(batch.offset + 1, min(batch.next_offset, end))

    def skipped(self, partition: int) -> Collection[int]:
        """Return the base offsets of the batches that were skipped."""
        return self._skipped.get(partition, ())

    def forget(self, partition: int) -> None:
        """Forget a partition that is read from elsewhere, or no more."""
        self._stopped.pop(partition, None)
        self._skipped.pop(partition, None)
