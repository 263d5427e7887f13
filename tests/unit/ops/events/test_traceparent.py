"""The header `traceparent`: what is valid is passed on, and nothing else reaches the database."""

import pytest

from ops.events.traceparent import headers_of, traceparent_of

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_header_is_read_and_written() -> None:
    """The first that is valid counts."""
    headers = [("x", b"1"), ("traceparent", b"nonsense"), ("traceparent", GOOD.encode())]
    assert traceparent_of(headers) == GOOD
    assert traceparent_of(headers_of(GOOD)) == GOOD
    assert headers_of("") == headers_of(None) == ()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xfe",
        GOOD.upper().encode(),
        GOOD.encode() + b"\x00",
        GOOD.encode() + b"\n",
        GOOD.encode()[:-1],
        b"ff" + GOOD.encode()[2:],
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32).encode(),
        GOOD.replace("b7ad6b7169203331", "0" * 16).encode(),
    ],
)
def test_an_invalid_header_is_no_trace(value: bytes) -> None:
    """Any producer may write anything."""
    assert traceparent_of([("traceparent", value)]) == ""
