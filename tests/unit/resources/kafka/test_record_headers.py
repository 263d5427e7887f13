"""Headers of records: nothing is lost on the way into a row and back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from resources.kafka.record_headers import Headers, restored, sendable, stored

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.binary(max_size=5).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
headers = st.lists(st.tuples(keys, st.none() | st.binary(max_size=8)), max_size=4).map(tuple)


@given(headers)
def test_stored_headers_come_back_equal(original: Headers) -> None:
    """Repeated keys, binary values, NUL, null, and keys that are not UTF-8; in order."""
    text = json.dumps(stored(original))
    assert "\\u0000" not in text, "PostgreSQL's jsonb refuses it"
    assert restored(json.loads(text)) == original


@given(headers)
def test_any_headers_can_be_sent(original: Headers) -> None:
    """A producer takes only keys that are UTF-8, and values that are not null."""
    sent = sendable(original, prefix="original.")
    assert [value for _, value in sent] == [value or b"" for _, value in original]
    assert all(key.encode().startswith(b"original.") for key, _ in sent)


def test_text_is_stored_as_text() -> None:
    """A person reads it in the row."""
    assert stored((("traceparent", b"00-ab"), ("x", None), ("y", b"\xff"))) == [
        ["traceparent", "00-ab"],
        ["x", None],
        ["y", {"base64": "/w=="}],
    ]
    assert stored(()) is None
    assert restored(None) == ()
