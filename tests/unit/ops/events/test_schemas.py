"""The JSON Schemas of events: they say what the code reads and writes."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.errors import BadInputError
from ops.events.feedback import Label, feedback_event
from ops.events.parse import EventLimits, parse_event
from ops.events.schemas import event_schema, feedback_schema, scored_schema
from ops.events.scored import promoted_event, scored_event
from ops.events.serialize import event_json
from ops.types import AdKey, AdStatus, EventKind, Prediction, StreamRecord
from tests.support.batches import RELEASE, event, outcome
from tests.unit.ops.events.test_parse import GOOD
from tests.unit.ops.events.test_serialize import events

LIMITS = EventLimits(max_photos=3, max_title_chars=10, max_description_chars=20)


def accepts(schema: dict[str, Any], value: object) -> bool:
    return bool(jsonschema.Draft7Validator(schema).is_valid(value))


def is_read(value: object) -> bool:
    record = StreamRecord("ads", 0, 0, 0, None, json.dumps(value).encode())
    try:
        parse_event(record, LIMITS)
    except BadInputError:
        return False
    return True


AD = event_schema(LIMITS)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(0, 1e16).map(lambda number: round(number, 3)),
    st.text(max_size=30),
    st.lists(
        st.fixed_dictionaries({}, optional={"url": st.none() | st.text(max_size=3)}), max_size=4
    ),
    st.sampled_from(
        [
            *("upserted", "deleted", "kg", "a/b", "a/../b", "..", "a\n", "a\x85", "x" * 201, "5\n"),
            *("5", "1_0", "+5", "5.", "1E+5", "9" * 16, "2026-11-22T10:00:00Z", "2026-11-22"),
            *("2026-11-22T10:00:00+06:00", "2026-11-22T10:00:00Z\n", 1, 2**62, 2**62 + 1, True),
            *(
                [{"url": "x", "sha256": "ab" * 32}],
                [{"sha256": "AB" * 32}],
                [{"sha256": "ab" * 31}],
            ),
            *([{"sha256": "ab" * 32 + "\n"}], [{"url": None, "sha256": "ab" * 32}], [{}], ["x"]),
        ]
    ),
)


@given(
    changes=st.dictionaries(
        st.sampled_from([*GOOD, "revision_assigned"]), values, min_size=1, max_size=3
    ),
    missing=st.sets(st.sampled_from([*GOOD]), max_size=1),
)
@example(changes={"kind": "deleted", "photos": "whatever"}, missing=set())
@example(changes={"revision": 2**62 + 1, "revision_assigned": True}, missing=set())
@example(changes={"revision": 2**62 + 1, "revision_assigned": 1}, missing=set())
@example(changes={"price": "5\n"}, missing=set())
def test_the_schema_and_the_parser_agree(changes: dict[str, Any], missing: set[str]) -> None:
    """On every value of every field, except what JSON Schema can't say."""
    fields = {**GOOD, "title": "A chair", **changes}
    fields = {name: value for name, value in fields.items() if name not in missing}
    read, valid = is_read(fields), accepts(AD, fields)
    if read:
        assert valid, fields
    elif valid:
        assert beyond_json_schema(fields), fields


def beyond_json_schema(fields: dict[str, Any]) -> bool:
    """7.0 and true are JSON numbers in some readers; a lone surrogate is a character; a price
    just below the limit is rounded up to it."""
    floats = any(type(fields.get(name)) is float for name in ("revision", "schema"))
    text = json.dumps(fields, ensure_ascii=False)
    surrogate = any("\ud800" <= char <= "\udfff" for char in text)
    try:
        rounded = round(Decimal(str(fields.get("price"))), 2) >= 10**15
    except ArithmeticError:
        rounded = False
    return floats or surrogate or rounded


@given(events)
def test_every_event_that_is_written_is_valid(written: Any) -> None:
    """By the gateway and by upkeep."""
    assert accepts(event_schema(EventLimits()), json.loads(event_json(written)))


@pytest.mark.parametrize("status", [AdStatus.SCORED, AdStatus.UNSCORED, AdStatus.NO_PHOTOS])
def test_every_result_that_is_written_is_valid(status: AdStatus) -> None:
    """Scored, unscored, without photos, deleted, and a promotion."""
    ad = outcome(event("1", photos=2))
    found = {RELEASE: (Prediction("category", "chair", 0.5, {"top": [["chair", 0.5]]}),)}
    scored = replace(ad, status=status, predictions=found if status is AdStatus.SCORED else {})
    deleted = outcome(event("1", kind=EventKind.DELETED, photos=0))
    for value in (
        scored_event(scored, live=RELEASE, run_id="run-1"),
        scored_event(deleted, live=RELEASE, run_id="run-1"),
        promoted_event("a", instead_of="b", unscored_days=["2026-05-01"]),
    ):
        assert accepts(scored_schema(), json.loads(value))
        broken = json.loads(value)
        del broken["release"]
        assert not accepts(scored_schema(), broken)


def test_a_label_that_is_written_is_valid() -> None:
    """As the gateway writes it."""
    label = Label(AdKey("kg", "a/b"), "category", "chair", "me", datetime(2026, 5, 1, tzinfo=UTC))
    value = json.loads(feedback_event(label))
    assert accepts(feedback_schema(), value)
    for name in value:
        broken = copy.deepcopy(value)
        broken[name] = None
        assert not accepts(feedback_schema(), broken)
