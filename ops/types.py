"""The records that every package shares: an ad, a photo and a prediction in memory.

Frozen dataclasses without behaviour. Does not depend on Kafka, PostgreSQL, Dagster or torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ops.errors import Reason

ProgressCallback = Callable[[str], object]
"""Called with one line of text at each step of a long operation."""


class EventKind(StrEnum):
    UPSERTED = "upserted"
    DELETED = "deleted"


class AdStatus(StrEnum):
    """The state of an ad's highest revision."""

    SCORED = "scored"  # at least one photo was usable
    UNSCORED = "unscored"  # every photo failed; each has a row in `failures`
    NO_PHOTOS = "no_photos"  # the event lists no photos
    DELETED = "deleted"  # a tombstone
    RECEIVED = "received"  # accepted, not scored yet: an event of the same revision is processed


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One Kafka record, as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # Kafka's, milliseconds since the epoch, UTC
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """A photo as an event refers to it: exactly one of the two fields is set."""

    url: str | None = None
    sha256: bytes | None = None  # 32 bytes, the digest of the photo's bytes


@dataclass(frozen=True, slots=True)
class AdKey:
    """The marketplace's key of an ad."""

    catalog: str
    ad_id: str

    def __str__(self) -> str:
        return f"{self.catalog}/{self.ad_id}"


@dataclass(frozen=True, slots=True)
class AdEvent:
    """A valid event of schema 1."""

    key: AdKey
    kind: EventKind
    event_id: str
    revision: int  # int64; the highest wins, an equal one is ignored
    occurred_at: datetime  # UTC, by the seller system's clock
    title: str = ""
    description: str = ""
    category: str | None = None  # the seller's category: a label, where there is one
    price: Decimal | None = None
    currency: str | None = None
    photos: tuple[PhotoRef, ...] = ()
    attributes: Mapping[str, float] = field(default_factory=dict, hash=False)
    """The catalog's numbers, by name, such as area or mileage."""
    seller: str | None = None  # the catalog's id of the seller


class PhotoNote(StrEnum):
    """What a reader should know about a photo that was used. Stored in `photos.note`."""

    PHOTO_INCOMPLETE = "photo_incomplete"  # the file lacks its end, and hardly any pixels
    PHOTO_BLANK = "photo_blank"  # it has one colour: no search compares it


@dataclass(frozen=True, slots=True)
class Rendition:
    """What is stored of a photo, and the input of the stream and of backfills: an upright RGB
    JPEG, longest side at most 640 pixels, without metadata."""

    photo_sha256: bytes  # of the source bytes: the photo's identity
    sha256: bytes  # of `data`
    data: bytes
    width: int
    height: int
    source_format: str  # "jpeg", "png", "webp", "gif", "avif", "heic", "bmp", "tiff"
    source_width: int  # pixels, from the header, before orientation
    source_height: int
    source_bytes: int
    note: PhotoNote | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one event or one photo could not be used."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One task's prediction for one ad under one release."""

    task: str
    label: str
    score: float  # in [0, 1], of SCORE_DIGITS decimals
    details: dict[str, Any] = field(default_factory=dict)  # JSON; the keys depend on the task


UtcDay = date

SCORE_DIGITS = 6
"""Decimals of every score, in `details` too. With more, the JSON of PostgreSQL's `real` would have
other digits than that of a double."""
