"""What became of a batch of events: everything that one commit writes.

Decides the shape that the scoring hands to the commit; refuses to know tables.
"""

from collections.abc import Iterator, Mapping
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
    """Where an ad's milliseconds went; what is left of its latency was waiting for its turn and
    the commit."""

    fetch_ms: float = 0.0  # until the last photo's bytes were here
    photos_ms: float = 0.0  # check, rendition, store, decode
    queued_ms: float = 0.0  # ready, and the model was busy
    embed_ms: float = 0.0  # of the batch that it was in
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
    times: StageTimes = StageTimes()


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
    superseded: int = 0  # events that a higher revision, here or held, made void
    dead_letters: tuple[DeadLetter, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    embeddings: tuple[PhotoEmbedding, ...] = ()
    partitions: frozenset[int] = frozenset()  # that these were read from
    next_offsets: Mapping[int, int] = field(default_factory=dict)  # of those that move

    @property
    def places(self) -> Iterator[Receipt]:
        """Where what is written here came from; superseded events have none."""
        yield from (ad.receipt for ad in self.ads)
        yield from (letter.receipt for letter in self.dead_letters)

    @property
    def events(self) -> int:
        """How many records came in: every one is an ad, superseded or a dead letter."""
        return len(self.ads) + self.superseded + len(self.dead_letters)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """What a commit changed."""

    accepted: Mapping[AdKey, date]  # the ads it wrote, each with the day that it belongs to
    committed_at: datetime  # seen after the commit
    messages: tuple["OutboxMessage", ...] = ()  # committed, and still to be published


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """What must reach Kafka because a transaction committed."""

    id: int
    topic: str
    key: bytes | None
    value: bytes
