"""Texts, ids, revisions and photos of an event: how each is read, and its JSON Schema.

The parser of records (`parse.py`) and the gateway's request models both use them, so that both
accept the same values. Types are strict: neither "5" nor 5.0 is a revision. `moment.py` and
`price.py` have the other types.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ops.errors import BadInputError, Reason
from ops.types import PhotoRef

MAX_KEY_CHARS = 200
MAX_LABEL_CHARS = 200
MAX_URL_CHARS = 4_096
MAX_CURRENCY_CHARS = 8
MAX_SELLER_CHARS = 128
# The highest revision that a caller may send. Above it there is room for the gateway, which assigns
# the next revision where a caller sends none: no revision makes an ad unchangeable.
MAX_REVISION = 2**62
MAX_ASSIGNED_REVISION = 2**63 - 1  # PostgreSQL's bigint

# C0, DEL, C1, U+2028 and U+2029: lines end at some; servers and proxies remove or refuse others.
_CONTROLS = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
# A client or a proxy resolves these segments before the server sees the path.
_DOT_SEGMENT = r"(^|/)\.\.?(/|$)"
_CONTROL, _DOTS = re.compile(_CONTROLS), re.compile(_DOT_SEGMENT)

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

Schema = Mapping[str, Any]
"""A JSON Schema. Its patterns mean the same to Python and to ECMA-262."""

SHA256_SCHEMA = {"type": "string", "maxLength": 64, "pattern": "^[0-9a-fA-F]{64}$"}


@dataclass(frozen=True, slots=True)
class Text:
    """Text that PostgreSQL can store: no NUL, no lone surrogate; of limited length."""

    max_chars: int
    min_chars: int = 0

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        least = {"minLength": self.min_chars} if self.min_chars else {}
        return {"type": "string", **least, "maxLength": self.max_chars, "pattern": r"^[^\x00]*$"}

    def read(self, value: object, name: str) -> str:
        """Return the text; raises BadInputError."""
        if type(value) is not str:
            raise wrong(f"{name} is {excerpt(value)}, expected a string")
        if len(value) < self.min_chars:
            raise BadInputError(Reason.EVENT_MISSING_FIELD, f"{name} is empty")
        if len(value) > self.max_chars:
            raise BadInputError(
                Reason.EVENT_TEXT_TOO_LONG,
                f"{name} has {len(value)} characters, expected at most {self.max_chars}",
            )
        if "\x00" in value:
            raise wrong(f"{name} contains a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise wrong(f"{name} contains a lone surrogate") from error
        return value


@dataclass(frozen=True, slots=True)
class Identifier:
    """An id that every client and proxy leaves as it is in a path: part of an ad's key."""

    slashes: bool = True

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        refused = _DOT_SEGMENT if self.slashes else r"/|^\.\.?$"
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_KEY_CHARS,
            "not": {"pattern": f"{_CONTROLS}|{refused}"},
        }

    def read(self, value: object, name: str) -> str:
        """Return the id; raises BadInputError."""
        text = Text(MAX_KEY_CHARS, 1).read(value, name)
        control = _CONTROL.search(text)
        if control is not None:
            raise wrong(
                f"{name} {excerpt(text)} contains the control character "
                f"U+{ord(control[0]):04X}: an id with it can't be addressed in a path"
            )
        if not self.slashes and "/" in text:
            raise wrong(
                f"{name} {excerpt(text)} contains '/', which separates it from ad_id in the key"
            )
        if _DOTS.search(text) is not None:
            raise wrong(
                f"{name} {excerpt(text)} has a segment '.' or '..': clients and proxies would "
                "turn its path into another one"
            )
        return text


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision: an integer; the highest wins."""

    maximum: int = MAX_REVISION

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        return {"type": "integer", "minimum": 0, "maximum": self.maximum}

    def read(self, value: object, name: str) -> int:
        """Return the revision; raises BadInputError."""
        if type(value) is not int or not 0 <= value <= self.maximum:
            power = " (2^62)" if self.maximum == MAX_REVISION else ""
            raise BadInputError(
                Reason.EVENT_BAD_REVISION,
                f"{name} is {excerpt(value)}, expected an integer from 0 to {self.maximum}{power}",
            )
        return value


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo: an object with the address it is fetched from, or the SHA-256 of its bytes."""

    url = Text(MAX_URL_CHARS)

    @property
    def schema(self) -> Schema:
        """The JSON Schema of the accepted values."""
        null = {"type": "null"}
        return {
            "type": "object",
            "properties": {
                "url": {"anyOf": [self.url.schema, null]},
                "sha256": {"anyOf": [SHA256_SCHEMA, null]},
            },
            "oneOf": [
                {"required": [name], "not": {"properties": {name: null}}}
                for name in ("url", "sha256")
            ],
        }

    def read(self, value: object, name: str) -> PhotoRef:
        """Return the photo; raises BadInputError."""
        if not isinstance(value, dict):
            raise wrong(f"{name} is {excerpt(value)}, expected an object")
        url, sha256 = value.get("url"), value.get("sha256")
        if (url is None) == (sha256 is None):
            raise wrong(f"{name} needs exactly one of url and sha256")
        if url is not None:
            return PhotoRef(url=self.url.read(url, f"{name}.url"))
        return PhotoRef(sha256=read_sha256(sha256, f"{name}.sha256"))


def read_sha256(value: object, name: str) -> bytes:
    """Return the 32 bytes of a SHA-256 in hexadecimal; raises BadInputError."""
    if type(value) is not str or _SHA256.fullmatch(value) is None:
        raise wrong(f"{name} is {excerpt(value)}, expected 64 hex digits")
    return bytes.fromhex(value)


def excerpt(value: object, max_chars: int = 60) -> str:
    """The value for an error message, cut to `max_chars`."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= max_chars else text[:max_chars] + "…"


def wrong(detail: str) -> BadInputError:
    """The error of a value of the wrong type or format."""
    return BadInputError(Reason.EVENT_WRONG_TYPE, detail)
