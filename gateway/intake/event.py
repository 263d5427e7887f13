"""Conversion of a request to an event of schema 1, and the digest of an event's content.

Owns what makes two requests equal: everything in the event but its id, revision and timestamp.
`ops/events/parse.py` validates the event, as it does for every record of the topic.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from gateway.problems import Problem
from gateway.schemas.requests import AdIn
from ops.events.parse import SCHEMA, parse_event
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord
from resources.kafka.publisher import ADS_MAX_BYTES
from resources.settings import Settings

_OVERHEAD_BYTES = 200  # of a record and its batch


def event_of(
    ad: AdIn, revision: int, settings: Settings, *, uploaded: Sequence[bytes] = ()
) -> AdEvent:
    """The event of a posted ad; uploaded photos follow those that the ad names.

    Raises:
        BadInputError: it exceeds a limit of events.
    """
    photos: list[dict[str, str]] = []
    for photo in ad.photos:
        source = {"url": photo.url, "sha256": photo.sha256}
        photos.append({name: value for name, value in source.items() if value is not None})
    photos += [{"sha256": digest.hex()} for digest in uploaded]
    at = datetime.now(UTC) if ad.occurred_at is None else ad.occurred_at
    fields = {
        "title": ad.title,
        "description": ad.description,
        "category": ad.category,
        "price": None if ad.price is None else str(ad.price),
        "currency": ad.currency,
        "seller": ad.seller,
        "attributes": ad.attributes,
        "photos": photos,
    }
    key = AdKey(ad.catalog, ad.ad_id)
    return _validated(key, EventKind.UPSERTED, revision, at, settings, fields)


def deletion_of(key: AdKey, revision: int, settings: Settings) -> AdEvent:
    """The event that deletes an ad.

    Raises:
        BadInputError: the key is not valid.
    """
    return _validated(key, EventKind.DELETED, revision, datetime.now(UTC), settings, {})


def content_digest(event: AdEvent) -> bytes:
    """SHA-256 of an event's content: its kind, fields and photos."""
    fields = (event.title, event.description, event.category, str(event.price), event.currency)
    photos = [_source(photo) for photo in event.photos]
    content: list[Any] = [event.kind.value, *fields, photos]
    if event.attributes:  # an ad without them has the digest that it had before there were any
        content.append(sorted(event.attributes.items()))
    if event.seller is not None:
        content.append({"seller": event.seller})
    text = json.dumps(content, ensure_ascii=False)
    return sha256(text.encode()).digest()


def check_size(event: AdEvent, value: bytes) -> None:
    """Raise a Problem (413) for an event that is too large for a Kafka record.

    Otherwise it would stay in the outbox permanently.
    """
    if len(value) + len(str(event.key).encode()) + _OVERHEAD_BYTES > ADS_MAX_BYTES:
        raise Problem(
            413,
            "too_large",
            f"the ad's event has {len(value)} bytes, but at most {ADS_MAX_BYTES} are allowed: send "
            "less text or shorter URLs",
            allowed=ADS_MAX_BYTES,
        )


def _validated(
    key: AdKey,
    kind: EventKind,
    revision: int,
    at: datetime,
    settings: Settings,
    fields: dict[str, Any],
) -> AdEvent:
    record_fields = {
        "schema": SCHEMA,
        "event_id": uuid4().hex,
        "kind": kind.value,
        "catalog": key.catalog,
        "ad_id": key.ad_id,
        "revision": revision,
        "occurred_at": at.isoformat(),
        **fields,
    }
    value = json.dumps(record_fields).encode()
    record = StreamRecord(settings.ads_topic, 0, 0, 0, None, value)
    return parse_event(record, settings.event_limits)


def _source(photo: PhotoRef) -> str | None:
    return photo.url if photo.sha256 is None else photo.sha256.hex()
