"""Serializes an event as schema 1; `ops/events/parse.py` reads it back equal.

Owns the JSON form of each field. Does not depend on where events are published.
"""

import json

from ops.events.fields import MAX_REVISION
from ops.events.parse import SCHEMA
from ops.types import AdEvent, PhotoRef


def event_json(event: AdEvent) -> bytes:
    """Serialize the record value as UTF-8 JSON. The price is a string: a JSON number would be
    rounded.

    A revision above the highest that a caller may send is marked as assigned by the gateway.
    """
    assigned = {"revision_assigned": True} if event.revision > MAX_REVISION else {}
    return json.dumps(
        {
            "schema": SCHEMA,
            "event_id": event.event_id,
            "kind": event.kind.value,
            "catalog": event.key.catalog,
            "ad_id": event.key.ad_id,
            "revision": event.revision,
            **assigned,
            "occurred_at": event.occurred_at.isoformat(),
            "title": event.title,
            "description": event.description,
            "category": event.category,
            "price": None if event.price is None else str(event.price),
            "currency": event.currency,
            **({} if event.seller is None else {"seller": event.seller}),
            **({"attributes": dict(event.attributes)} if event.attributes else {}),
            "photos": [_photo(photo) for photo in event.photos],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def _photo(photo: PhotoRef) -> dict[str, str]:
    if photo.sha256 is not None:
        return {"sha256": photo.sha256.hex()}
    assert photo.url is not None  # one of the two is set
    return {"url": photo.url}
