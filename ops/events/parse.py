"""Parses a record of the topic `ads` (schema 1) into an AdEvent.

Owns which fields an event has. `json_bytes.py` reads the bytes; `fields.py`, `moment.py`,
`price.py` and `attributes.py` the values; `schemas.py` describes the same event as a JSON Schema.
Does not depend on where records come from. Unknown fields are ignored, so that a seller system may
send more than is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.errors import BadInputError, Reason
from ops.events.attributes import Attributes
from ops.events.fields import (
    MAX_ASSIGNED_REVISION,
    MAX_CURRENCY_CHARS,
    MAX_KEY_CHARS,
    MAX_LABEL_CHARS,
    MAX_SELLER_CHARS,
    Identifier,
    Photo,
    Revision,
    Text,
    excerpt,
    wrong,
)
from ops.events.json_bytes import read_object
from ops.events.moment import Moment
from ops.events.price import Price
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord

SCHEMA = 1
CATALOG, AD_ID = Identifier(slashes=False), Identifier()
EVENT_ID = Text(MAX_KEY_CHARS, min_chars=1)
REVISION, ASSIGNED_REVISION = Revision(), Revision(MAX_ASSIGNED_REVISION)
OCCURRED_AT, PRICE, PHOTO = Moment(), Price(), Photo()
ATTRIBUTES = Attributes()
CATEGORY, CURRENCY = Text(MAX_LABEL_CHARS), Text(MAX_CURRENCY_CHARS)
SELLER = Text(MAX_SELLER_CHARS)


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Size limits of an event, and how its bytes are framed.

    Args:
        strip_framing: skip the five bytes that serializers of Confluent's schema registry put
            before the JSON; they are refused otherwise.
    """

    max_photos: int = 50
    max_title_chars: int = 1_000
    max_description_chars: int = 50_000
    strip_framing: bool = False

    @property
    def title(self) -> Text:
        """The field `title`."""
        return Text(self.max_title_chars)

    @property
    def description(self) -> Text:
        """The field `description`."""
        return Text(self.max_description_chars)


def parse_event(record: StreamRecord, limits: EventLimits) -> AdEvent:
    """Parse the event of a record.

    If the record has a key, it must be `catalog/ad_id`: the order of an ad's events depends on it.

    Raises:
        BadInputError: the record is not a valid event; the reason is one of EVENT_*.
    """
    fields = read_object(record.value, strip_framing=limits.strip_framing)
    schema = fields.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise BadInputError(
            Reason.EVENT_UNKNOWN_SCHEMA, f"schema is {excerpt(schema)}, expected {SCHEMA}"
        )
    kind = _kind(fields)
    key = AdKey(
        CATALOG.read(_required(fields, "catalog"), "catalog"),
        AD_ID.read(_required(fields, "ad_id"), "ad_id"),
    )
    if record.key is not None and record.key != str(key).encode():
        raise BadInputError(
            Reason.EVENT_KEY_MISMATCH,
            f"the record's key is {excerpt(record.key)}, expected the event's {excerpt(str(key))}",
        )
    price, attributes = fields.get("price"), fields.get("attributes")
    return AdEvent(
        key=key,
        kind=kind,
        event_id=EVENT_ID.read(_required(fields, "event_id"), "event_id"),
        revision=_revision(fields),
        occurred_at=OCCURRED_AT.read(_required(fields, "occurred_at"), "occurred_at"),
        title=_text(fields, "title", limits.title),
        description=_text(fields, "description", limits.description),
        category=_text(fields, "category", CATEGORY) or None,
        price=None if price is None else PRICE.read(price, "price"),
        currency=_text(fields, "currency", CURRENCY) or None,
        seller=_text(fields, "seller", SELLER) or None,
        attributes={} if attributes is None else ATTRIBUTES.read(attributes, "attributes"),
        photos=_photos(fields, limits.max_photos) if kind is EventKind.UPSERTED else (),
    )


def _required(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise BadInputError(Reason.EVENT_MISSING_FIELD, f"{name} is missing")
    return value


def _kind(fields: Mapping[str, Any]) -> EventKind:
    value = _required(fields, "kind")
    if type(value) is not str:
        raise wrong(f"kind is {excerpt(value)}, expected a string")
    try:
        return EventKind(value)
    except ValueError as error:
        known = ", ".join(EventKind)
        raise BadInputError(
            Reason.EVENT_UNKNOWN_KIND, f"kind is {excerpt(value)}, expected one of {known}"
        ) from error


def _revision(fields: Mapping[str, Any]) -> int:
    """The revision. Only the gateway assigns one above the highest that a caller may send."""
    assigned = fields.get("revision_assigned") is True
    field = ASSIGNED_REVISION if assigned else REVISION
    return field.read(_required(fields, "revision"), "revision")


def _text(fields: Mapping[str, Any], name: str, field: Text) -> str:
    value = fields.get(name)
    return "" if value is None else field.read(value, name)


def _photos(fields: Mapping[str, Any], max_photos: int) -> tuple[PhotoRef, ...]:
    items = fields.get("photos")
    if items is None:
        return ()
    if type(items) is not list:
        raise wrong(f"photos is {excerpt(items)}, expected an array")
    if len(items) > max_photos:
        raise BadInputError(
            Reason.EVENT_TOO_MANY_PHOTOS, f"{len(items)} photos, expected at most {max_photos}"
        )
    return tuple(PHOTO.read(item, f"photos[{position}]") for position, item in enumerate(items))
