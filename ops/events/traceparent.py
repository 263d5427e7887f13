"""The trace to which a record belongs: the header `traceparent` of W3C's Trace Context."""

import re
from collections.abc import Sequence

HEADER = "traceparent"
_VALID = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_of(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """The record's traceparent; "" if it has none that is valid."""
    for name, value in headers:
        if name == HEADER and value is not None and _VALID.fullmatch(value):
            return value.decode("ascii")
    return ""


def headers_of(traceparent: str | None) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record that belongs to a trace; () for one that belongs to none."""
    return () if not traceparent else ((HEADER, traceparent.encode("ascii")),)
