"""Parsing records of the topic `ads`: valid events are read, others fail with one reason each."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import BadInputError, Reason
from ops.events.parse import EventLimits, parse_event
from ops.types import AdKey, EventKind, PhotoRef, StreamRecord

LIMITS = EventLimits()
GOOD = {
    "schema": 1,
    "event_id": "e-1",
    "kind": "upserted",
    "catalog": "kg",
    "ad_id": "42",
    "revision": 7,
    "occurred_at": "2026-01-02T03:04:05+02:00",
    "title": "A blue chair",
    "description": "",
    "category": "chair",
    "price": 12.5,
    "currency": "KGS",
    "seller": "s-17",
    "attributes": {"year": 2019, "area": 34.5, "floor": None},
    "photos": [{"url": "https://photos.example/1.jpg"}, {"sha256": "ab" * 32}],
}


def record(value: object, key: bytes | None = b"kg/42") -> StreamRecord:
    raw = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
    return StreamRecord("ads", 0, 0, 0, key, raw)


def test_a_whole_event_is_read() -> None:
    """Every field of schema 1 is read, with its type and in UTC."""
    event = parse_event(record(GOOD), LIMITS)
    assert event.key == AdKey("kg", "42")
    assert event.kind is EventKind.UPSERTED
    assert event.revision == 7
    assert event.occurred_at == datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert event.price == Decimal("12.50")
    assert event.seller == "s-17"
    assert list(event.attributes.items()) == [("area", 34.5), ("year", 2019.0)]
    assert event.photos == (
        PhotoRef(url="https://photos.example/1.jpg"),
        PhotoRef(sha256=bytes([0xAB]) * 32),
    )


def test_unknown_fields_are_ignored() -> None:
    """A seller system may send more than is read."""
    assert parse_event(record({**GOOD, "colour": "blue"}), LIMITS).title == "A blue chair"


def test_the_gateway_may_assign_a_higher_revision() -> None:
    """There is always a next revision of an ad, whatever its seller has sent."""
    change = {"revision": 2**62 + 1, "revision_assigned": True}
    assert parse_event(record({**GOOD, **change}), LIMITS).revision == 2**62 + 1


def test_framed_events_are_read_where_the_limits_say_so() -> None:
    """The five bytes of Confluent's schema registry are skipped; refused otherwise, by name."""
    value = b"\x00\x00\x00\x00\x07" + json.dumps(GOOD).encode()
    assert parse_event(record(value), EventLimits(strip_framing=True)).revision == 7
    with pytest.raises(BadInputError, match="schema registry"):
        parse_event(record(value), LIMITS)


def test_a_delete_needs_no_photos() -> None:
    """Only the key and the revision of a tombstone matter."""
    event = parse_event(record({**GOOD, "kind": "deleted", "photos": None}), LIMITS)
    assert (event.kind, event.photos) == (EventKind.DELETED, ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, Reason.EVENT_UNKNOWN_SCHEMA),
        ({"schema": True}, Reason.EVENT_UNKNOWN_SCHEMA),
        ({"schema": None}, Reason.EVENT_UNKNOWN_SCHEMA),
        ({"kind": "sold"}, Reason.EVENT_UNKNOWN_KIND),
        ({"catalog": None}, Reason.EVENT_MISSING_FIELD),
        ({"ad_id": ""}, Reason.EVENT_MISSING_FIELD),
        ({"ad_id": 42}, Reason.EVENT_WRONG_TYPE),
        ({"ad_id": "\x00"}, Reason.EVENT_WRONG_TYPE),
        ({"catalog": "k/g"}, Reason.EVENT_WRONG_TYPE),
        ({"ad_id": "43"}, Reason.EVENT_KEY_MISMATCH),
        ({"ad_id": "4" * 201}, Reason.EVENT_TEXT_TOO_LONG),
        ({"revision": None}, Reason.EVENT_MISSING_FIELD),
        ({"revision": "7"}, Reason.EVENT_BAD_REVISION),
        ({"revision": 7.0}, Reason.EVENT_BAD_REVISION),
        ({"revision": True}, Reason.EVENT_BAD_REVISION),
        ({"revision": -1}, Reason.EVENT_BAD_REVISION),
        ({"revision": 2**63}, Reason.EVENT_BAD_REVISION),
        ({"revision": 2**63 - 1}, Reason.EVENT_BAD_REVISION),
        ({"revision": 2**62 + 1, "revision_assigned": "true"}, Reason.EVENT_BAD_REVISION),
        ({"revision": 2**63, "revision_assigned": True}, Reason.EVENT_BAD_REVISION),
        ({"occurred_at": "2026-W47-7T10:00:00Z"}, Reason.EVENT_WRONG_TYPE),
        ({"ad_id": "42\n"}, Reason.EVENT_WRONG_TYPE),
        ({"catalog": ".."}, Reason.EVENT_WRONG_TYPE),
        ({"price": "1_0"}, Reason.EVENT_WRONG_TYPE),
        ({"occurred_at": "yesterday"}, Reason.EVENT_WRONG_TYPE),
        ({"occurred_at": "2026-01-02T03:04:05"}, Reason.EVENT_WRONG_TYPE),
        ({"occurred_at": "0001-01-01T00:00:00+10:00"}, Reason.EVENT_WRONG_TYPE),
        ({"title": "x" * 900_000}, Reason.EVENT_TEXT_TOO_LONG),
        ({"title": "\ud800"}, Reason.EVENT_WRONG_TYPE),
        ({"title": ["a"]}, Reason.EVENT_WRONG_TYPE),
        ({"price": "cheap"}, Reason.EVENT_WRONG_TYPE),
        ({"price": -1}, Reason.EVENT_WRONG_TYPE),
        ({"price": 1e300}, Reason.EVENT_WRONG_TYPE),
        ({"price": "999999999999999.999"}, Reason.EVENT_WRONG_TYPE),
        ({"price": "NaN"}, Reason.EVENT_WRONG_TYPE),
        ({"price": 1e30}, Reason.EVENT_WRONG_TYPE),
        ({"seller": 17}, Reason.EVENT_WRONG_TYPE),
        ({"seller": "x" * 129}, Reason.EVENT_TEXT_TOO_LONG),
        ({"attributes": [1]}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"area": "34"}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"area": True}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"area": {"m2": 34}}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"area": 10**15}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"area": -(10**400)}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {"": 1}}, Reason.EVENT_MISSING_FIELD),
        ({"attributes": {"x" * 65: 1}}, Reason.EVENT_TEXT_TOO_LONG),
        ({"attributes": {"a\x00": 1}}, Reason.EVENT_WRONG_TYPE),
        ({"attributes": {f"a{n}": n for n in range(33)}}, Reason.EVENT_TOO_MANY_ATTRIBUTES),
        ({"attributes": {f"a{n}": "" for n in range(10_000)}}, Reason.EVENT_TOO_MANY_ATTRIBUTES),
        ({"photos": {"url": "x"}}, Reason.EVENT_WRONG_TYPE),
        ({"photos": ["x"]}, Reason.EVENT_WRONG_TYPE),
        ({"photos": [{}]}, Reason.EVENT_WRONG_TYPE),
        ({"photos": [{"url": 5}]}, Reason.EVENT_WRONG_TYPE),
        ({"photos": [{"sha256": "zz"}]}, Reason.EVENT_WRONG_TYPE),
        ({"photos": [{"url": "x"}] * 10_000}, Reason.EVENT_TOO_MANY_PHOTOS),
    ],
)
def test_an_invalid_field_has_its_reason(change: dict[str, object], reason: Reason) -> None:
    """Each fault of an event has one stable code, and a detail of limited length."""
    with pytest.raises(BadInputError) as caught:
        parse_event(record({**GOOD, **change}), LIMITS)
    assert caught.value.reason is reason
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.EVENT_EMPTY),
        (b"", Reason.EVENT_EMPTY),
        (b"\xff\xfe\x00", Reason.EVENT_NOT_JSON),
        (b"{", Reason.EVENT_NOT_JSON),
        (b"[" * 100_000, Reason.EVENT_NOT_JSON),
        (b"[]", Reason.EVENT_NOT_OBJECT),
        (b"7", Reason.EVENT_NOT_OBJECT),
    ],
)
def test_a_value_that_is_not_a_json_object_has_its_reason(
    value: bytes | None, reason: Reason
) -> None:
    """Bytes that are not a JSON object have other reasons than objects that are not an event."""
    with pytest.raises(BadInputError) as caught:
        parse_event(record(value), LIMITS)
    assert caught.value.reason is reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_no_field_value_raises_another_error(change: dict[str, object]) -> None:
    """Any JSON value in any field gives an event or a BadInputError."""
    try:
        parse_event(record({**GOOD, **change}, key=None), LIMITS)
    except BadInputError as error:
        assert error.reason.startswith("event_")


@given(st.binary())
def test_no_bytes_raise_another_error(value: bytes) -> None:
    """Arbitrary bytes give a BadInputError."""
    with pytest.raises(BadInputError):
        parse_event(record(value), LIMITS)
