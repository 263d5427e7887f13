"""Reads Kafka records: as an event with its receipt, or as a dead letter with the reason."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ops.errors import BadInputError
from ops.events.parse import EventLimits, parse_event
from ops.events.traceparent import traceparent_of
from ops.outcomes import DeadLetter, Receipt
from ops.types import AdEvent, Failure, StreamRecord

CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ReceiptRule:
    """The time at which an event counts as received: Kafka's timestamp, if it is plausible.

    It is plausible from `earliest_day` until `CLOCK_SKEW` after now. The ad's day is that of the
    timestamp, or `first_day` where that is later: with it the day partitions begin.
    """

    earliest_day: date
    first_day: date = date.min

    def receipt(self, record: StreamRecord, now: datetime) -> Receipt:
        """The record's receipt; an implausible timestamp is replaced by `now` and marked so."""
        earliest = datetime.combine(self.earliest_day, datetime.min.time(), UTC)
        latest = now + CLOCK_SKEW
        in_range = earliest.timestamp() * 1e3 <= record.timestamp_ms <= latest.timestamp() * 1e3
        kafka_at = datetime.fromtimestamp(record.timestamp_ms / 1e3, UTC) if in_range else now
        return Receipt(
            *(record.topic, record.partition, record.offset),
            day=max(kafka_at.date(), self.first_day),
            kafka_at=kafka_at,
            received_at=now,
            timestamp_trusted=in_range,
            traceparent=traceparent_of(record.headers) if record.headers else "",
        )


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads records as events or dead letters."""

    limits: EventLimits
    receipts: ReceiptRule

    def read(self, record: StreamRecord, now: datetime) -> tuple[AdEvent, Receipt] | DeadLetter:
        """The event with its receipt, or a dead letter with the reason."""
        receipt = self.receipts.receipt(record, now)
        try:
            return parse_event(record, self.limits), receipt
        except BadInputError as error:
            return DeadLetter(record, receipt, Failure(error.reason, error.detail))
