"""What a caller means, as an event of schema 1 and as a digest of it.

Decides which two requests mean the same: all that an event says but its id, its revision and its
moment. The judge of an event is `ops/events/parse.py`, as for every record of the topic.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

from gateway.problems import Problem
from gateway.schemas.ads import AdIn
from ops.events.parse import SCHEMA, parse_event
from ops.types import AdEvent, AdKey, EventKind, PhotoRef, StreamRecord
from resources.kafka.publisher import ADS_MAX_BYTES
from resources.settings import Settings

_OVERHEAD_BYTES = 200  # of a record and its batch


def event_of(
    ad: AdIn, revision: int, settings: Settings, *, uploaded: Sequence[bytes] = ()
) -> AdEvent:
    """The event that says so; photos that came with it follow those that it names.

    Raises:
        BadInputError: it is beyond the limits of an event.
    """
    photos: list[dict[str, str]] = []
    for photo in ad.photos:
        named = {"url": photo.url, "sha256": photo.sha256}
        photos.append({name: value for name, value in named.items() if value is not None})
    photos += [{"sha256": digest.hex()} for digest in uploaded]
    at = datetime.now(UTC) if ad.occurred_at is None else ad.occurred_at
    fields = {
        "title": ad.title,
        "description": ad.description,
        "category": ad.category,
        "price": None if ad.price is None else str(ad.price),
        "currency": ad.currency,
        "photos": photos,
    }
    return _judged(AdKey(ad.catalog, ad.ad_id), EventKind.UPSERTED, revision, at, settings, fields)


def deletion_of(key: AdKey, revision: int, settings: Settings) -> AdEvent:
    """The event that deletes an ad; BadInputError where its key is none."""
    return _judged(key, EventKind.DELETED, revision, datetime.now(UTC), settings, {})


def content_digest(event: AdEvent) -> bytes:
    """SHA-256 of what an event says."""
    said = (event.title, event.description, event.category, str(event.price), event.currency)
    photos = [_named(photo) for photo in event.photos]
    text = json.dumps([event.kind.value, *said, photos], ensure_ascii=False)
    return sha256(text.encode()).digest()


def check_size(event: AdEvent, value: bytes) -> None:
    """413 for an event that no record can hold: it would be owed for ever."""
    if len(value) + len(str(event.key).encode()) + _OVERHEAD_BYTES > ADS_MAX_BYTES:
        raise Problem(
            413,
            "too_large",
            f"the ad has {len(value)} bytes as an event of the {ADS_MAX_BYTES} that are allowed: "
            "send less text, or shorter addresses",
            allowed=ADS_MAX_BYTES,
        )


def _judged(
    key: AdKey,
    kind: EventKind,
    revision: int,
    at: datetime,
    settings: Settings,
    fields: dict[str, Any],
) -> AdEvent:
    said = {
        "schema": SCHEMA,
        "event_id": uuid4().hex,
        "kind": kind.value,
        "catalog": key.catalog,
        "ad_id": key.ad_id,
        "revision": revision,
        "occurred_at": at.isoformat(),
        **fields,
    }
    value = json.dumps(said).encode()
    record = StreamRecord(settings.ads_topic, 0, 0, 0, None, value)
    return parse_event(record, settings.event_limits)


def _named(photo: PhotoRef) -> str | None:
    return photo.url if photo.sha256 is None else photo.sha256.hex()
