"""The records that every package shares: an ad, a photo and a prediction in memory.

Frozen dataclasses without behaviour. Does not depend on Kafka, PostgreSQL, Dagster or torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ops.errors import Reason

ProgressCallback = Callable[[str], object]
"""Called with one line for people at each step of long work."""


class EventKind(StrEnum):
    UPSERTED = "upserted"
    DELETED = "deleted"


class AdStatus(StrEnum):
    """What became of an ad's highest revision."""

    SCORED = "scored"  # at least one photo was usable
    UNSCORED = "unscored"  # every photo failed; each has its row in `failures`
    NO_PHOTOS = "no_photos"  # the event named none
    DELETED = "deleted"  # a tombstone
    RECEIVED = "received"  # accepted, and to be scored (again): the same revision counts once more


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One Kafka record, as it came."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int  # Kafka's, milliseconds since the epoch, UTC
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """Where an event says a photo is: exactly one of the two is set."""

    url: str | None = None
    sha256: bytes | None = None  # 32 bytes, of the photo's own bytes


@dataclass(frozen=True, slots=True)
class AdKey:
    """The marketplace's own key."""

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
    revision: int  # int64; the higher wins, an equal one changes nothing
    occurred_at: datetime  # UTC, by the seller system's clock
    title: str = ""
    description: str = ""
    category: str | None = None  # as the seller filed it: a label, where there is one
    price: Decimal | None = None
    currency: str | None = None
    photos: tuple[PhotoRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Rendition:
    """What is stored of a photo and what both lanes compute from: an upright RGB JPEG, longest
    side at most 640 pixels, without metadata."""

    photo_sha256: bytes  # of the source bytes: the photo's identity
    sha256: bytes  # of `data`
    data: bytes
    width: int
    height: int
    source_format: str  # "jpeg", "png", "webp", "gif", "avif"
    source_width: int  # pixels, as the header says, before orientation
    source_height: int
    source_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one event or one photo could not be used."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One task's answer for one ad under one release."""

    task: str
    label: str
    score: float  # in [0, 1]
    details: dict[str, Any] = field(default_factory=dict)  # JSON; the task's own


UtcDay = date
