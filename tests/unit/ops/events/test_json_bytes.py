"""Reading bytes as a JSON object: strict, and the message names what came."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import BadInputError, Reason
from ops.events.json_bytes import MAX_DEPTH, read_object

FRAMED = b"\x00\x00\x00\x00\x07"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-be"), "UTF-16"),
        ('{"a": 1}'.encode("utf-32"), "UTF-32"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-32"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7 is 0xff"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (FRAMED + b'{"a": 1}', "schema id 7, the framing of Confluent's schema registry"),
        (FRAMED + b'{"a": 1}', "LALAFO_SCHEMA_REGISTRY_FRAMING=strip"),
        (b"\x00\x00\x00\x7b\x01" + b'{"a": 1}', "schema id 31489"),
        (FRAMED + b"\x02\x06foo", "not JSON (Avro or Protobuf)"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'the name "c" twice'),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "a number of 10000 characters"),
        (b'{"a": 1.' + b"9" * 10_000 + b"}", "a number of 10002 characters"),
        (b'{"a": 1e99999999999999999999}', "out of range"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": +1}', "not JSON"),
        (b'{"a": 1} x', "not JSON: Extra data"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'\x0c{"a": 1}', "not JSON"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
        (b"[" * 100_000, "nested deeper than 100 levels"),
    ],
)
def test_what_is_not_json_in_utf8_is_refused_by_name(value: bytes, part: str) -> None:
    """The reason says which encoding, framing, name or number it was."""
    with pytest.raises(BadInputError) as caught:
        read_object(value)
    assert caught.value.reason is Reason.EVENT_NOT_JSON
    assert part in caught.value.detail
    assert len(caught.value.detail) < 300


def test_a_byte_order_mark_is_ignored() -> None:
    """RFC 8259 allows it; also behind the framing of a schema registry."""
    assert read_object(b"\xef\xbb\xbf" + b'{"a": 1}') == {"a": 1}
    assert read_object(FRAMED + b'\xef\xbb\xbf{"a": 1}', strip_framing=True) == {"a": 1}


def test_framing_is_stripped_where_a_setting_says_so() -> None:
    """Events without the framing are read as before."""
    for value in (FRAMED + b'{"a": 1}', b'{"a": 1}'):
        assert read_object(value, strip_framing=True) == {"a": 1}


def test_the_deepest_nesting_does_not_depend_on_the_caller() -> None:
    """100 levels are read, in a deep call too, and brackets in a string don't count."""
    value = b'{"a":' * MAX_DEPTH + b'"' + b"[{" * 500 + b'"' + b"}" * MAX_DEPTH

    def deep(levels: int) -> dict:
        return read_object(value) if levels == 0 else deep(levels - 1)

    assert deep(0) == deep(500)


def test_a_fraction_keeps_its_digits() -> None:
    """No binary float in between: 999999999999999.995 has no float of its own."""
    assert read_object(b'{"a": 999999999999999.995}') == {"a": Decimal("999999999999999.995")}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.booleans())
def test_every_json_object_is_read(value: dict, ascii_only: bool) -> None:
    """Whatever its names and values, with escapes or without."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert read_object(text.encode()) == value
