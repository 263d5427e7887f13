"""The ports of a session, as protocols, and its policy.

Owns the contracts between a session and its environment. `resources/` implements them, and
`tests/support/session_world.py` implements them in memory.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self

from ops.isolation import FAILURES_IN_A_ROW
from ops.models.release import Preprocessing
from ops.outcomes import Batch, CommitResult, DeadLetter
from ops.scoring.ads import AdScorer, AnsweredBy, LoadedPhotos
from ops.scoring.records import RecordReader
from ops.session.admission import Ownership
from ops.types import AdEvent, AdKey, PhotoRef, Rendition, StreamRecord


@dataclass(frozen=True, slots=True)
class PartitionAssigned:
    """The session has acquired a partition, to be read from `offset` on.

    `waited`: no session has held it since before this one was ready, so its records waited for
    the session's start.
    """

    owner: Ownership
    offset: int
    waited: bool = False


@dataclass(frozen=True, slots=True)
class PartitionRevoked:
    """The session must release a partition; `lost`: another session owns it already."""

    partition: int
    lost: bool = False


@dataclass(frozen=True, slots=True)
class CarefulReading:
    """A partition where sessions died: its records below `until` are read one at a time."""

    until: int
    suspect: int | None = None  # the record that was alone in process when a session died last
    deaths: int = 0  # how many sessions died so


class EventStream(Protocol):
    """The records of the session's partitions; used only in the thread of the intake."""

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets; replaces the assignment before."""

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """The next records, ascending within a partition; [] where none came in time.

        The session applies back-pressure by not polling: records then stay in Kafka.
        """

    def positions(self) -> Mapping[int, int]:
        """By partition, the first offset that may still return a record.

        It may be past the last returned record: markers and removed records are passed over.
        """


class Membership(Protocol):
    """The session's membership in the group of sessions of a topic. Thread-safe."""

    def changes(self) -> Sequence[PartitionAssigned | PartitionRevoked]:
        """The changes of the session's partitions since the last call, in order."""

    def release(self, partition: int) -> None:
        """Release a partition whose work is committed or stale. RetryableError: call again."""

    def mark_lost(self, partition: int) -> None:
        """Record that another session owns the partition, as a commit found."""

    def leave(self) -> None:
        """Revoke all partitions of the session, through `changes`. A repeated call does nothing."""

    @property
    def left(self) -> bool:
        """Whether the session was asked, or has decided, to leave."""


class Quarantine(Protocol):
    """What is known about records that sessions died of; `careful.py` has the rules."""

    def read(self, partitions: Collection[int], records: int) -> Mapping[int, CarefulReading]:
        """Those of the acquired partitions that must be read carefully, for so many records."""

    def attempt(self, owner: Ownership, offset: int) -> None:
        """Record durably that this record alone is in process from now on.

        Changes nothing if a later owner of the partition has recorded one.
        """


class Revisions(Protocol):
    """Finds the (key, revision) of stale events: the ad's stored revision is not lower."""

    def __call__(self, events: Sequence[AdEvent]) -> set[tuple[AdKey, int]]: ...


class PhotoLoading(Protocol):
    """Fetches, checks, prepares and stores an ad's photos; runs on the session's event loop."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def load(
        self,
        refs: Sequence[PhotoRef],
        views: Mapping[str, Preprocessing],
        *,
        answered_by: Sequence[AnsweredBy],
        came_back: Callable[[], None],
    ) -> LoadedPhotos:
        """Load all of `refs`, without storing new renditions. RetryableError: call again.

        Args:
            views: what each photo is prepared for: a backbone that has not embedded it, or pixels.
            answered_by: whose answers of known photos are to be read.
            came_back: is called on the event loop whenever the call does not hang.
        """

    async def store_renditions(
        self, renditions: Sequence[Rendition], *, came_back: Callable[[], None]
    ) -> None:
        """Return once all are durable. RetryableError: the store is unavailable, call again."""


class DeadLetterQueue(Protocol):
    """Stores records that are not valid events."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when all letters are durable."""


class Results(Protocol):
    """Writes the results of batches."""

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        """Write a batch in one transaction, if the epochs of its partitions are current.

        Raises LeaseLostError, ReleaseChangedError, PhotosGoneError or RetryableError.
        """


class Tracing(Protocol):
    """Spans of a session's stages. Thread-safe; a traceparent is "" for a record without one."""

    def batch(self, stage: str, traceparents: Iterable[str]) -> AbstractContextManager[object]:
        """A span around the work on a batch, linked to the traces of its records."""

    def ad(self, stage: str, traceparent: str) -> AbstractContextManager[object]:
        """A span around the work on one ad, in its own trace."""

    def announced(self, traceparents: Sequence[str]) -> list[str | None]:
        """The traceparents of the ads' records on `ads.scored`, in order; called in the commit."""


_NO_SPAN: AbstractContextManager[object] = nullcontext()


class NoTracing:
    """Tracing that is off: no span, and the ads' traces are passed on as they are."""

    def batch(self, stage: str, traceparents: Iterable[str]) -> AbstractContextManager[object]:
        """No span; the traceparents are not read."""
        return _NO_SPAN

    def ad(self, stage: str, traceparent: str) -> AbstractContextManager[object]:
        """No span."""
        return _NO_SPAN

    def announced(self, traceparents: Sequence[str]) -> list[str | None]:
        """The same traceparents."""
        return [it or None for it in traceparents]


NO_TRACING = NoTracing()


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """The environment of one session.

    `scorer` loads the active releases, at the start and whenever they have changed. `committed`
    is called in the commit thread after each commit and must not block. `hung` gets the names of
    the stages that do not end with the session; it need not return.
    """

    stream: EventStream
    membership: Membership
    reader: RecordReader
    revisions: Revisions
    photos: PhotoLoading
    scorer: Callable[[], AdScorer]
    dead_letters: DeadLetterQueue
    results: Results
    quarantine: Quarantine
    committed: Callable[[Batch, CommitResult], None]
    tracing: Tracing = NO_TRACING
    hung: Callable[[Sequence[str]], object] = lambda _: None


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """Limits and intervals of a session; durations are in seconds."""

    max_photos: int = 384  # in flight
    batch_photos: int = 32  # in one call of the model
    commit_ads: int = 128  # in one transaction
    max_records: int = 64  # in one poll
    poll_timeout_s: float = 0.05
    grace_s: float = 0.4  # for ads in process when their partition is revoked
    idle_s: float | None = None  # without records for so long, the session ends; None: never
    report_every_s: float = 10.0
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    outage_s: float = 900.0  # an outage longer than this ends the session with its error
    shutdown_s: float = 5.0  # from the request to leave until `SessionPorts.hung` is called
    failures_in_a_row: int = FAILURES_IN_A_ROW  # different items that fail at a stage
    careful_records: int = 512  # read one at a time where sessions died: more than were in flight
