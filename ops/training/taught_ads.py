"""Whole ads in a training set, for tasks that learn from what sellers write.

Owns their records, and their JSON in the file of the set. Photos are named by their digests, as
elsewhere in a set; fields are kept as they were, so that the set stays what it is when ads change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from ops.tasks import AdFields
from ops.types import AdKey

Part = Literal["train", "held_out"]


@dataclass(frozen=True, slots=True)
class TaughtAd:
    """An ad with its distinct usable photos, each by its SHA-256 and its rendition's, in order."""

    fields: AdFields
    revision: int
    photos: tuple[tuple[bytes, bytes], ...]

    @property
    def key(self) -> AdKey:
        """The key of the ad."""
        return AdKey(self.fields.catalog, self.fields.ad_id)


@dataclass(frozen=True, slots=True)
class AdExample:
    """An ad with its group and its part of the set."""

    ad: TaughtAd
    group: bytes  # as that of its photos
    part: Part


def ad_record(example: AdExample) -> dict[str, Any]:
    """The JSON of an ad."""
    fields = example.ad.fields
    return {
        "catalog": fields.catalog,
        "ad_id": fields.ad_id,
        "revision": example.ad.revision,
        "title": fields.title,
        "description": fields.description,
        "category": fields.category,
        "price": None if fields.price is None else str(fields.price),
        "currency": fields.currency,
        "attributes": dict(fields.attributes),
        "occurred_at": _time(fields.occurred_at),
        "received_at": _time(fields.received_at),
        "photos": [[photo.hex(), rendition.hex()] for photo, rendition in example.ad.photos],
        "group": example.group.hex(),
        "part": example.part,
    }


def ad_example(record: dict[str, Any]) -> AdExample:
    """The ad of a JSON; raises ValueError, KeyError or TypeError where it is none."""
    part = record["part"]
    if part not in ("train", "held_out"):
        raise ValueError(f"part {part!r}")
    fields = AdFields(
        catalog=str(record["catalog"]),
        ad_id=str(record["ad_id"]),
        title=str(record["title"]),
        description=str(record["description"]),
        category=record["category"],
        price=None if record["price"] is None else Decimal(record["price"]),
        currency=record["currency"],
        occurred_at=datetime.fromisoformat(record["occurred_at"]),
        received_at=datetime.fromisoformat(record["received_at"]),
        attributes={str(name): float(value) for name, value in dict(record["attributes"]).items()},
    )
    photos = tuple((bytes.fromhex(one), bytes.fromhex(other)) for one, other in record["photos"])
    ad = TaughtAd(fields, int(record["revision"]), photos)
    return AdExample(ad, bytes.fromhex(record["group"]), part)


def unknown_ads(ads: Sequence[AdExample], trained_on: Sequence[AdExample]) -> list[AdExample]:
    """Leave out ads whose group has an ad or a photo that a release was trained on; in order."""
    seen: set[AdKey | bytes] = set()
    for example in trained_on:
        seen.add(example.ad.key)
        seen.update(photo for photo, _ in example.ad.photos)
    contaminated = {
        example.group
        for example in ads
        if example.ad.key in seen or any(photo in seen for photo, _ in example.ad.photos)
    }
    return [example for example in ads if example.group not in contaminated]


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
