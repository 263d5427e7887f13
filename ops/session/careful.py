"""Careful reading: finds the record that ends sessions, and steps over it.

An exception that a stage raises for an item is that item's failure (`isolation.py`). This is for
the rest: a record whose processing kills the process (a crash of a native library, lack of memory,
a hang that the watchdog ends), or ends the session with an exception. Owns the rules:

1. A session that acquires a partition whose holder died counts the death, with the partition's
   committed offset (`resources/sessions/group/deaths.py`). No living session writes anything for
   this.
2. After two deaths at one offset the records from there on are read carefully: one at a time,
   while nothing else is in process, and each attempt is stored before its record is parsed.
3. A record that two sessions died of while it was alone in process is quarantined: it becomes a
   dead letter, unparsed, and is stepped over. A death with others in process counts against none.

Each quarantine takes two sessions, so a fault that kills every session steps over records slowly,
and is loud.
"""

from collections import deque
from collections.abc import Iterable, Mapping

import structlog

from ops.errors import Reason
from ops.outcomes import DeadLetter, Receipt
from ops.session.admission import Ownership, SettledWork
from ops.session.ports import CarefulReading
from ops.types import Failure, StreamRecord

DEATHS = 2
"""Deaths at one offset until it is read carefully, and again until its record is quarantined."""

log = structlog.get_logger()


class CarefulPartitions:
    """The partitions that the session reads carefully, and their records that wait."""

    def __init__(self) -> None:
        self._readings: dict[int, CarefulReading] = {}
        self.waiting: deque[tuple[StreamRecord, Ownership]] = deque()

    def follow(self, partitions: Iterable[int], readings: Mapping[int, CarefulReading]) -> None:
        """Take note of newly assigned partitions."""
        for partition in partitions:
            self._readings.pop(partition, None)
            if partition in readings:
                self._readings[partition] = readings[partition]
                until = readings[partition].until
                log.warning("session.careful_reading", partition=partition, until=until)

    def claims(self, record: StreamRecord) -> bool:
        """Whether the record is to be read carefully."""
        reading = self._readings.get(record.partition)
        if reading is not None and record.offset >= reading.until:
            log.info("session.careful_reading_over", partition=record.partition)
            del self._readings[record.partition]
            return False
        return reading is not None

    def must_quarantine(self, record: StreamRecord) -> bool:
        """Whether sessions have died of this record."""
        reading = self._readings.get(record.partition)
        return reading is not None and record.offset == reading.suspect and reading.deaths >= DEATHS


def quarantine(record: StreamRecord, receipt: Receipt, owner: Ownership) -> SettledWork:
    """The record as a dead letter, without parsing it."""
    place = f"{record.topic}[{record.partition}] offset {record.offset}"
    log.error("session.quarantined", record=place)
    detail = f"{DEATHS} sessions died while this record alone was in process"
    letter = DeadLetter(record, receipt, Failure(Reason.QUARANTINED, detail))
    return SettledWork(receipt, owner, letter)
