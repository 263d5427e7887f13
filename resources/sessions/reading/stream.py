"""The session's partitions, as the intake of the pipeline reads them.

Owns what happens where a partition can't be read on: the others are. A position that left the log
is looked up again, as for a partition that was just acquired. A log that was truncated below the
position is read from its beginning: the same offsets are other records now.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from ops.types import StreamRecord
from resources.kafka.consumer import StreamConsumer
from resources.kafka.topics import OffsetOutOfLog, OffsetOutOfLogError
from resources.sessions.group.membership import SessionMembership
from resources.sessions.reading.unreadable import UnreadableRecords

log = structlog.get_logger()


@dataclass(slots=True)
class SessionStream:
    """Reads the session's partitions; used in the thread of the intake alone."""

    consumer: StreamConsumer
    membership: SessionMembership
    unreadable: UnreadableRecords
    truncated: Callable[[OffsetOutOfLog], None]  # forgets the committed offset

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets; those outside the log are acquired again."""
        remaining = dict(offsets)
        while True:
            try:
                return self.consumer.assign(remaining)
            except OffsetOutOfLogError as error:
                self._acquire_again(error)
                for position in error.positions:
                    del remaining[position.partition]

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """Return the next records; [] where none came in time."""
        self.unreadable.follow(self.consumer)  # before: an error must not lose what was polled
        try:
            return self.consumer.poll(max_records=max_records, timeout_s=timeout_s)
        except OffsetOutOfLogError as error:
            self._acquire_again(error)
            return []

    def positions(self) -> Mapping[int, int]:
        """Return the first offset of each partition that may still return a record."""
        return self.consumer.positions()

    def _acquire_again(self, error: OffsetOutOfLogError) -> None:
        log.error("stream.position_out_of_log", positions=str(error))
        for position in error.positions:
            if position.truncated:  # the committed offset may be inside the log, of other records
                self.truncated(position)
            self.membership.acquire_again(position.partition)
