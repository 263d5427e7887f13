"""Headers of records: as JSON, as they are stored, and as a producer takes them.

Owns a form that loses nothing: keys need not be unique, nor UTF-8, and values are any bytes or
null. A key that is not UTF-8 is a string with surrogates (`surrogateescape`).
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

Headers = tuple[tuple[str, bytes | None], ...]


def stored(headers: Headers) -> list[list[Any]] | None:
    """The headers as JSON: a list of [key, value]; None if there are none.

    A key or value is a string, `{"base64": …}` if its bytes are not text that JSON and PostgreSQL
    can hold, or null.
    """
    return [[_stored(_bytes(key)), _stored(value)] for key, value in headers] or None


def restored(headers: Sequence[Sequence[Any]] | None) -> Headers:
    """The headers that `stored` was given."""
    return tuple(
        ((_restored(key) or b"").decode("utf-8", "surrogateescape"), _restored(value))
        for key, value in headers or ()
    )


def sendable(headers: Headers, *, prefix: str = "") -> tuple[tuple[str, bytes], ...]:
    """The headers as kafka-python's producer takes them, with `prefix` before each key.

    It refuses a null value (3.0.12), which becomes an empty one, and a key that is not UTF-8, whose
    other bytes are written as \\xff.
    """
    return tuple(
        (prefix + _bytes(key).decode("utf-8", "backslashreplace"), value or b"")
        for key, value in headers
    )


def _bytes(key: str) -> bytes:
    try:
        return key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return key.encode("utf-8", "surrogatepass")


def _stored(value: bytes | None) -> str | dict[str, str] | None:
    if value is None:
        return None
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\x00"
    return text if "\x00" not in text else {"base64": b64encode(value).decode()}


def _restored(value: Any) -> bytes | None:
    if value is None:
        return None
    return value.encode() if isinstance(value, str) else b64decode(value["base64"])
