"""The results of a batch of events: everything that one commit writes.

Owns the records that scoring passes to the commit. Does not depend on the database tables.
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
    kafka_at: datetime  # Kafka's timestamp, or `received_at` where that is out of range
    received_at: datetime  # when the record was polled, by the session's clock
    timestamp_trusted: bool  # False where Kafka's timestamp was out of range
    traceparent: str = ""  # W3C trace context of the record; "": it belongs to no trace
    waited_for_session: bool = False
    """Whether the record was in Kafka before the session began to read its partition, and no other
    session read it meanwhile: its latency has the time until a session had started."""


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """One photo of one ad: its `sha256`, or the failure."""

    ref: PhotoRef
    sha256: bytes | None
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds that an ad spent in each stage. The rest of its latency was spent waiting to
    be admitted, and in the commit."""

    fetch_ms: float = 0.0  # until the last photo was downloaded
    photos_ms: float = 0.0  # check, rendition, decode; storing runs beside the model
    queued_ms: float = 0.0  # loaded, and waiting for the model
    embed_ms: float = 0.0  # of the whole batch that the ad was in
    predict_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that failed for an ad under a release; the ad has its other predictions.

    `photo`: it failed for this photo of the ad alone; None: for the ad.
    """

    release: str
    task: str
    failure: Failure
    photo: bytes | None = None


@dataclass(frozen=True, slots=True)
class AdOutcome:
    """The result of one event, as the commit writes it to the ad."""

    event: AdEvent
    receipt: Receipt
    status: AdStatus
    photos: tuple[PhotoOutcome, ...] = ()
    predictions: Mapping[str, tuple[Prediction, ...]] = field(default_factory=dict)
    """Predictions by release name."""
    task_failures: tuple[TaskFailure, ...] = ()
    times: StageTimes = StageTimes()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that is not a valid event, with the reason."""

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
class PhotoAnswer:
    """A photo's answer in a task of scope photo, under one release."""

    release: str
    sha256: bytes
    answer: Prediction


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit writes; any of the collections may be empty."""

    releases: tuple[str, ...]  # the active releases that scored the batch: the live one first
    ads: tuple[AdOutcome, ...] = ()
    superseded: int = 0  # events that a higher revision, in the batch or stored, made stale
    no_events: int = 0  # offsets that hold no event: a transaction's marker, a removed record
    dead_letters: tuple[DeadLetter, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    embeddings: tuple[PhotoEmbedding, ...] = ()
    partitions: frozenset[int] = frozenset()  # the partitions that the events were read from
    next_offsets: Mapping[int, int] = field(default_factory=dict)  # of partitions that advance
    photo_answers: tuple[PhotoAnswer, ...] = ()  # that are new
    has_deferred: bool = False  # an active release has tasks that run after the commit

    @property
    def receipts(self) -> Iterator[Receipt]:
        """The receipts of the ads and dead letters; superseded events are not among them."""
        yield from (ad.receipt for ad in self.ads)
        yield from (letter.receipt for letter in self.dead_letters)

    @property
    def events(self) -> int:
        """The number of records read: each is an ad, superseded or a dead letter."""
        return len(self.ads) + self.superseded + len(self.dead_letters)


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result of a commit."""

    accepted: Mapping[AdKey, date]  # the ads that were written, each with its day
    committed_at: datetime  # read after the commit
    messages: tuple["OutboxMessage", ...] = ()  # committed to the outbox, not published yet


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A Kafka message that a committed transaction wrote to the outbox."""

    id: int
    topic: str
    key: bytes | None
    value: bytes
    traceparent: str | None = None
