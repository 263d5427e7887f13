"""What became of a batch of events: everything that one commit writes.

Decides the shape that the scoring hands to the commit; refuses to know tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from ops.types import (
    AdEvent,
    AdKey,
    AdStatus,
    Failure,
    PhotoRef,
    Prediction,
    Rendition,
    StreamRecord,
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """When and where an event was received."""

    topic: str
    partition: int
    offset: int
    day: date  # UTC, of the ad's first event: the partition of a new ad
    kafka_at: datetime  # Kafka's timestamp, or the time of receipt where that is impossible
    received_at: datetime  # by our clock, when the record was polled
    timestamp_trusted: bool


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """One photo of one ad: `sha256`, or why there is none."""

    ref: PhotoRef
    sha256: bytes | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Where the milliseconds of a batch went; each ad of it carries the same."""

    photos_ms: float = 0.0
    embed_ms: float = 0.0
    predict_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class AdOutcome:
    """An event's ad, as the commit is to write it."""

    event: AdEvent
    receipt: Receipt
    status: AdStatus
    photos: tuple[PhotoOutcome, ...] = ()
    predictions: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)
    """By the release's name."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is no event, kept with its reason."""

    record: StreamRecord
    receipt: Receipt
    failure: Failure


@dataclass(frozen=True, slots=True)
class PhotoEmbedding:
    """A photo's unit vector under one backbone."""

    sha256: bytes
    backbone: str
    release: str
    vector: NDArray[np.float16]  # (D,)


@dataclass(frozen=True, slots=True)
class Batch:
    """All that one commit writes; empty lists are fine."""

    releases: tuple[str, ...]  # the set that this was computed for: live first
    ads: tuple[AdOutcome, ...] = ()
    superseded: int = 0  # events that a higher revision in the same batch made void
    dead_letters: tuple[DeadLetter, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    embeddings: tuple[PhotoEmbedding, ...] = ()
    first_offsets: Mapping[int, int] = field(default_factory=dict)  # by partition
    next_offsets: Mapping[int, int] = field(default_factory=dict)  # by partition; past the last
    times: StageTimes = StageTimes()

    @property
    def events(self) -> int:
        """How many records came in: every one is an ad, superseded or a dead letter."""
        return len(self.ads) + self.superseded + len(self.dead_letters)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit changed."""

    accepted: Mapping[AdKey, date]  # the ads it wrote, each with the day that it belongs to
    committed_at: datetime  # seen after the commit
