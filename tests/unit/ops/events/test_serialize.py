"""Serialized events are parsed back equal."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from ops.events.fields import MAX_ASSIGNED_REVISION
from ops.events.parse import EventLimits, parse_event
from ops.events.price import MAX_PRICE
from ops.events.serialize import event_json
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
some = text.filter(lambda it: it != "")
ids = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40)
catalogs = ids.filter(lambda it: "/" not in it and it not in (".", ".."))
ad_ids = ids.filter(lambda it: not {".", ".."} & set(it.split("/")))
moments = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
    lambda it: it.replace(tzinfo=UTC)
)
refs = st.one_of(
    st.builds(PhotoRef, url=text), st.builds(PhotoRef, sha256=st.binary(min_size=32, max_size=32))
)
events = st.builds(
    AdEvent,
    key=st.builds(AdKey, catalogs, ad_ids),
    kind=st.just(EventKind.UPSERTED),
    event_id=some,
    revision=st.integers(0, MAX_ASSIGNED_REVISION),
    occurred_at=moments,
    title=text,
    description=text,
    category=st.none() | some,
    price=st.none() | st.decimals(0, MAX_PRICE - Decimal("0.01"), places=2),
    currency=st.none() | st.text("ABC", min_size=1, max_size=8),
    seller=st.none() | some,
    photos=st.lists(refs, max_size=5).map(tuple),
    attributes=st.dictionaries(
        some, st.floats(-(10**15), 10**15, exclude_min=True, exclude_max=True), max_size=5
    ),
)


@given(events)
def test_every_event_comes_back_equal(event: AdEvent) -> None:
    """With the record's key checked; prices to the cent, times to the microsecond."""
    record = StreamRecord("ads", 0, 0, 0, str(event.key).encode(), event_json(event))
    assert parse_event(record, EventLimits()) == event
