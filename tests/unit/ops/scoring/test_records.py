"""Every record is an event or a dead letter, with a receipt whose time is plausible."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from ops.errors import Reason
from ops.events.parse import EventLimits
from ops.outcomes import DeadLetter
from ops.scoring.records import ReceiptRule, RecordReader
from ops.types import AdKey, PhotoRef, StreamRecord

DAY = date(2026, 1, 1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def record(value: bytes | dict, *, offset: int = 0, at: datetime = NOON) -> StreamRecord:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return StreamRecord("ads", 1, offset, int(at.timestamp() * 1e3), None, body)


def reader(**limits: int) -> RecordReader:
    return RecordReader(EventLimits(**limits), ReceiptRule(DAY))


GOOD = {
    "schema": 1,
    "event_id": "e1",
    "kind": "upserted",
    "catalog": "kg",
    "ad_id": "1",
    "revision": 3,
    "occurred_at": "2026-05-01T12:00:00Z",
    "photos": [{"url": "https://p.example/1.jpg"}],
}


def test_a_record_is_an_event_with_its_receipt() -> None:
    """The receipt has the place and time of the record, the event its content."""
    later = NOON + timedelta(seconds=2)
    item = reader().read(record(GOOD, offset=7), later)
    assert not isinstance(item, DeadLetter)
    of, place = item
    assert (of.key, of.revision, of.photos) == (
        AdKey("kg", "1"),
        3,
        (PhotoRef("https://p.example/1.jpg"),),
    )
    assert (place.topic, place.partition, place.offset) == ("ads", 1, 7)
    assert (place.day, place.kafka_at, place.received_at) == (NOON.date(), NOON, later)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"nonsense", Reason.EVENT_NOT_JSON),
        (b"", Reason.EVENT_EMPTY),
        ({**GOOD, "schema": 9}, Reason.EVENT_UNKNOWN_SCHEMA),
        ({**GOOD, "photos": GOOD["photos"] * 3}, Reason.EVENT_TOO_MANY_PHOTOS),
    ],
)
def test_an_invalid_record_is_a_dead_letter(value: bytes | dict, reason: Reason) -> None:
    """The letter has the receipt, the bytes and the reason; nothing is raised."""
    bad = record(value, offset=5)
    letter = reader(max_photos=2).read(bad, NOON)
    assert isinstance(letter, DeadLetter)
    assert (letter.record, letter.failure.reason) == (bad, reason)
    assert (letter.receipt.partition, letter.receipt.offset) == (1, 5)


def test_implausible_timestamps_are_replaced_by_the_time_of_receipt() -> None:
    """Kafka's time is used from the first day to five minutes from now."""
    rule = ReceiptRule(DAY)

    def at(moment: datetime) -> tuple[datetime, bool, date]:
        of = rule.receipt(record(b"", at=moment), NOON)
        return of.kafka_at, of.timestamp_trusted, of.day

    early = datetime(2026, 1, 1, tzinfo=UTC)
    assert at(early) == (early, True, DAY)
    soon = NOON + timedelta(minutes=4)
    assert at(soon) == (soon, True, NOON.date())
    for wrong in (early - timedelta(seconds=1), NOON + timedelta(minutes=6)):
        assert at(wrong) == (NOON, False, NOON.date())


def test_an_ad_older_than_the_first_day_is_of_the_first_day() -> None:
    """A backlog's timestamps are right, and so is its latency; but partitions begin with a day."""
    first = NOON.date() - timedelta(days=1)
    rule = ReceiptRule(DAY, first)
    for age, day in ((9, first), (1, first), (0, NOON.date())):
        sent = NOON - timedelta(days=age)
        receipt = rule.receipt(record(b"", at=sent), NOON)
        assert (receipt.kafka_at, receipt.timestamp_trusted) == (sent, True)
        assert receipt.day == day
