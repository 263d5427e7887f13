"""Reads bytes as a JSON object: one reader for records of the topic and for bodies of requests.

Strict, so that no two readers of the same bytes see different events: UTF-8 only (RFC 8259; a byte
order mark is ignored), no name twice in an object, no NaN or Infinity, bounded nesting and numbers.
A number with a fraction or an exponent becomes a Decimal, so that no digit is lost.
"""

import json
import re
from decimal import Decimal, InvalidOperation
from json import JSONDecodeError, JSONDecoder
from typing import Any

from ops.errors import BadInputError, Reason

MAX_DEPTH = 100
MAX_NUMBER_CHARS = 1_000
_BOM = b"\xef\xbb\xbf"
_WHITESPACE = " \t\r\n"  # of JSON; str.strip() would remove more
FRAME_BYTES = 5  # the byte 0 and a big-endian schema id of four bytes
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{\[}\]]', re.DOTALL)
JSON_TYPES: dict[type, str] = {
    **{dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"},
    **{int: "number", Decimal: "number"},
}


class _Refused(ValueError):
    """The text is JSON, or nearly, but not what this reader takes."""


def read_object(value: bytes | None, *, strip_framing: bool = False) -> dict[str, Any]:
    """Read the JSON object of a record or a body.

    Args:
        strip_framing: skip the five bytes that serializers of Confluent's schema registry put
            before the JSON.

    Raises:
        BadInputError: EVENT_EMPTY, EVENT_NOT_JSON or EVENT_NOT_OBJECT.
    """
    if value is None or len(value) == 0:
        raise BadInputError(Reason.EVENT_EMPTY, "there is no value, expected a JSON object")
    try:
        decoded = _decoded(_text(value, strip_framing))
    except _Refused as error:
        raise BadInputError(
            Reason.EVENT_NOT_JSON, f"the value ({len(value)} bytes) {error}"
        ) from error
    if not isinstance(decoded, dict):
        raise BadInputError(
            Reason.EVENT_NOT_OBJECT,
            f"the value is a JSON {JSON_TYPES[type(decoded)]}, expected an object",
        )
    return decoded


def _text(value: bytes, strip_framing: bool) -> str:
    encoding = _other_encoding(value)
    if encoding is not None:
        raise _Refused(f"is {encoding}, expected JSON in UTF-8")
    if value[0] == 0 and len(value) > FRAME_BYTES:  # no JSON text starts with this byte
        if not strip_framing:
            raise _Refused(_framed(value))
        value = value[FRAME_BYTES:]
    try:
        return value.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        raise _Refused(
            f"is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        ) from error


def _other_encoding(value: bytes) -> str | None:
    """The encoding of a text that is certainly UTF-16 or UTF-32; its first characters are ASCII."""
    if value.startswith((b"\x00\x00\xfe\xff", b"\xff\xfe\x00\x00")):
        return "UTF-32"
    if value.startswith((b"\xfe\xff", b"\xff\xfe")):
        return "UTF-16"
    nulls = tuple(byte == 0 for byte in value[:8])
    if nulls == (True, True, True, False) * 2 or nulls == (False, True, True, True) * 2:
        return "UTF-32"
    if nulls[:4] in ((True, False) * 2, (False, True) * 2):
        return "UTF-16"
    return None


def _framed(value: bytes) -> str:
    schema_id = int.from_bytes(value[1:FRAME_BYTES], "big")
    start = f"starts with the byte 0 and the schema id {schema_id}, the framing of Confluent's"
    if value[FRAME_BYTES:].removeprefix(_BOM).lstrip(_WHITESPACE.encode())[:1] != b"{":
        return (
            f"{start} schema registry, before something that is not JSON (Avro or Protobuf): "
            "publish the event as JSON"
        )
    return (
        f"{start} schema registry: publish plain JSON, or set LALAFO_SCHEMA_REGISTRY_FRAMING=strip"
    )


def _decoded(text: str) -> Any:
    # Python's parser stops at a depth that depends on the caller's stack: both readers need one.
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(text):
        raise _Refused(f"is nested deeper than {MAX_DEPTH} levels")
    try:
        return _DECODER.decode(text)
    except JSONDecodeError as error:
        raise _Refused(f"is not JSON: {error}") from error


def _is_too_deep(text: str) -> bool:
    """Whether brackets outside of strings are nested too deep; in one pass without recursion."""
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in ("{", "["):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif match[0] in ("}", "]"):
            depth -= 1
    return False


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"has the name {json.dumps(twice)[:80]} twice in one object")
    return fields


def _integer(text: str) -> int:
    return int(_short(text))


def _fraction(text: str) -> Decimal:
    try:
        return Decimal(_short(text))
    except InvalidOperation as error:  # an exponent of more than 18 digits
        raise _Refused(f"contains the number {text[:40]}, which is out of range") from error


def _short(number: str) -> str:
    if len(number) > MAX_NUMBER_CHARS:
        raise _Refused(
            f"contains a number of {len(number)} characters, expected at most {MAX_NUMBER_CHARS}"
        )
    return number


def _constant(text: str) -> Any:
    raise _Refused(f"contains {text}, which is not JSON")


_DECODER = JSONDecoder(
    object_pairs_hook=_without_duplicates,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_constant,
)
