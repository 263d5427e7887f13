"""Parses a record of the topic `ads` (schema 1) into an AdEvent.

Owns the validation of events, and their limits. Does not depend on where records come from. Types
are checked strictly: neither "5" nor 5.0 is a valid revision. Unknown fields are ignored, so that
a seller system may send more than is read here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from ops.errors import BadInputError, Reason
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord

SCHEMA = 1
MAX_REVISION = 2**63 - 1
MAX_KEY_CHARS = 200
MAX_URL_CHARS = 4_096
MAX_LABEL_CHARS = 200
MAX_PRICE = Decimal(10) ** 15

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Size limits of an event."""

    max_photos: int = 50
    max_title_chars: int = 1_000
    max_description_chars: int = 50_000


def parse_event(record: StreamRecord, limits: EventLimits) -> AdEvent:
    """Parse the event of a record.

    If the record has a key, it must be `catalog/ad_id`: the order of an ad's events depends on it.

    Raises:
        BadInputError: the record is not a valid event; the reason is one of EVENT_*.
    """
    fields = _object(record.value)
    schema = fields.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise BadInputError(
            Reason.EVENT_UNKNOWN_SCHEMA, f"schema is {_excerpt(schema)}, expected {SCHEMA}"
        )
    kind = _kind(fields)
    key = AdKey(_identifier(fields, "catalog"), _identifier(fields, "ad_id"))
    if record.key is not None and record.key != str(key).encode():
        raise BadInputError(
            Reason.EVENT_KEY_MISMATCH,
            f"the record's key is {_excerpt(record.key)}, expected the event's "
            f"{_excerpt(str(key))}",
        )
    return AdEvent(
        key=key,
        kind=kind,
        event_id=_identifier(fields, "event_id"),
        revision=_revision(fields),
        occurred_at=_moment(fields, "occurred_at"),
        title=_text(fields, "title", limits.max_title_chars),
        description=_text(fields, "description", limits.max_description_chars),
        category=_text(fields, "category", MAX_LABEL_CHARS) or None,
        price=_price(fields),
        currency=_text(fields, "currency", 8) or None,
        photos=_photos(fields, limits.max_photos) if kind is EventKind.UPSERTED else (),
    )


def _object(value: bytes | None) -> Mapping[str, Any]:
    if value is None or len(value) == 0:
        raise BadInputError(Reason.EVENT_EMPTY, "the record has no value")
    try:
        decoded = json.loads(value)
    # RecursionError: the json module has no limit of nesting
    except (ValueError, RecursionError) as error:
        raise BadInputError(
            Reason.EVENT_NOT_JSON, f"the value ({len(value)} bytes) is not JSON: {error}"
        ) from error
    if not isinstance(decoded, dict):
        raise BadInputError(
            Reason.EVENT_NOT_OBJECT,
            f"the value is a JSON {type(decoded).__name__}, expected an object",
        )
    return decoded


def _required(fields: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = fields.get(name)
    if value is None:
        raise BadInputError(Reason.EVENT_MISSING_FIELD, f"{name} is missing")
    if type(value) is not kind:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"{name} is {_excerpt(value)}, expected {kind.__name__}"
        )
    return value


def _identifier(fields: Mapping[str, Any], name: str) -> str:
    text = _clean(_required(fields, name, str), name)
    if text == "":
        raise BadInputError(Reason.EVENT_MISSING_FIELD, f"{name} is empty")
    if len(text) > MAX_KEY_CHARS:
        raise BadInputError(
            Reason.EVENT_TEXT_TOO_LONG,
            f"{name} has {len(text)} characters, expected at most {MAX_KEY_CHARS}",
        )
    if name == "catalog" and "/" in text:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE,
            f"catalog {_excerpt(text)} contains '/', which separates it from ad_id in the key",
        )
    return text


def _kind(fields: Mapping[str, Any]) -> EventKind:
    text = _required(fields, "kind", str)
    try:
        return EventKind(text)
    except ValueError as error:
        known = ", ".join(EventKind)
        raise BadInputError(
            Reason.EVENT_UNKNOWN_KIND, f"kind is {_excerpt(text)}, expected one of {known}"
        ) from error


def _revision(fields: Mapping[str, Any]) -> int:
    value = fields.get("revision")
    if value is None:
        raise BadInputError(Reason.EVENT_MISSING_FIELD, "revision is missing")
    if type(value) is not int or not 0 <= value <= MAX_REVISION:
        raise BadInputError(
            Reason.EVENT_BAD_REVISION, f"revision is {_excerpt(value)}, expected 0 to 2^63 - 1"
        )
    return value


def _moment(fields: Mapping[str, Any], name: str) -> datetime:
    text = _required(fields, name, str)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"{name} is {_excerpt(text)}, expected ISO 8601"
        ) from error
    if moment.tzinfo is None:
        raise BadInputError(Reason.EVENT_WRONG_TYPE, f"{name} {_excerpt(text)} has no time zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"{name} {_excerpt(text)} is out of range"
        ) from error


def _text(fields: Mapping[str, Any], name: str, max_chars: int) -> str:
    if fields.get(name) is None:
        return ""
    text = _required(fields, name, str)
    if len(text) > max_chars:
        raise BadInputError(
            Reason.EVENT_TEXT_TOO_LONG,
            f"{name} has {len(text)} characters, expected at most {max_chars}",
        )
    return _clean(text, name)


def _clean(text: str, name: str) -> str:
    """Return the text if PostgreSQL can store it: no NUL, no lone surrogate."""
    if "\x00" in text:
        raise BadInputError(Reason.EVENT_WRONG_TYPE, f"{name} contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadInputError(Reason.EVENT_WRONG_TYPE, f"{name} contains a lone surrogate") from error
    return text


def _price(fields: Mapping[str, Any]) -> Decimal | None:
    value = fields.get("price")
    if value is None:
        return None
    if type(value) not in (int, float, str):
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"price is {_excerpt(value)}, expected a number"
        )
    try:
        price = Decimal(str(value))
    except InvalidOperation as error:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"price is {_excerpt(value)}, expected a number"
        ) from error
    # Checked after rounding too: 999999999999999.999 rounds to more than the column can store.
    if not price.is_finite() or not (0 <= price < MAX_PRICE and round(price, 2) < MAX_PRICE):
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"price is {_excerpt(value)}, expected 0 to {MAX_PRICE:.0e}"
        )
    return round(price, 2)


def _photos(fields: Mapping[str, Any], max_photos: int) -> tuple[PhotoRef, ...]:
    if fields.get("photos") is None:
        return ()
    items = _required(fields, "photos", list)
    if len(items) > max_photos:
        raise BadInputError(
            Reason.EVENT_TOO_MANY_PHOTOS, f"{len(items)} photos, expected at most {max_photos}"
        )
    return tuple(_photo(item, position) for position, item in enumerate(items))


def _photo(item: object, position: int) -> PhotoRef:
    name = f"photos[{position}]"
    if not isinstance(item, dict):
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"{name} is {_excerpt(item)}, expected an object"
        )
    url, sha256 = item.get("url"), item.get("sha256")
    if (url is None) == (sha256 is None):
        raise BadInputError(Reason.EVENT_WRONG_TYPE, f"{name} needs exactly one of url and sha256")
    if url is not None:
        url = _required(item, "url", str)
        if len(url) > MAX_URL_CHARS:
            raise BadInputError(
                Reason.EVENT_TEXT_TOO_LONG,
                f"{name}.url has {len(url)} characters, expected at most {MAX_URL_CHARS}",
            )
        return PhotoRef(url=_clean(url, f"{name}.url"))
    text = _required(item, "sha256", str)
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32 or len(text) != 64:
        raise BadInputError(
            Reason.EVENT_WRONG_TYPE, f"{name}.sha256 is {_excerpt(text)}, expected 64 hex digits"
        )
    return PhotoRef(sha256=digest)


def _excerpt(value: object, max_chars: int = 60) -> str:
    """The value for an error message, cut to `max_chars`."""
    text = repr(value)
    return text if len(text) <= max_chars else text[:max_chars] + "…"
