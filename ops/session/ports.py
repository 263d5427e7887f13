"""What a session needs of the outside world, and how it works: ports and policy.

Decides the contracts that `resources/` fulfils, and in memory
`tests/unit/ops/session/test_pipeline.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from ops.models.release import Preprocessing
from ops.outcomes import Batch, CommitResult, DeadLetter
from ops.scoring.ads import AdScorer, LoadedPhotos, RecordReader
from ops.session.admission import Ownership
from ops.types import AdEvent, AdKey, PhotoRef, StreamRecord


@dataclass(frozen=True, slots=True)
class PartitionAssigned:
    """A partition is ours, to be read from an offset on."""

    owner: Ownership
    offset: int


@dataclass(frozen=True, slots=True)
class PartitionRevoked:
    """A partition is to be given up; `lost`: another session has it already."""

    partition: int
    lost: bool = False


class EventStream(Protocol):
    """The partitions that this session owns; used by the intake's thread alone."""

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, in place of what was read before."""

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        """The next records, ascending within a partition; [] where none came in time.

        What nobody polls stays with Kafka: back-pressure is not to poll.
        """


class Membership(Protocol):
    """This session's place among the others; safe to use from any thread."""

    def changes(self) -> Sequence[PartitionAssigned | PartitionRevoked]:
        """What became of our partitions since the last call, in order."""

    def give_up(self, partition: int) -> None:
        """Let it go: what was begun of it is committed or void. RetryableError: call it again."""

    def lose(self, partition: int) -> None:
        """A commit found that another session has it."""

    def leave(self) -> None:
        """Ask for all partitions back; `changes` will tell. A repeated call does nothing."""

    @property
    def left(self) -> bool:
        """Whether we were told, or have decided, to leave."""


class Revisions(Protocol):
    """Which of these events change nothing, since their ad's revision held is not lower."""

    def __call__(self, events: Sequence[AdEvent]) -> set[tuple[AdKey, int]]: ...


class PhotoLoading(Protocol):
    """Fetches, checks, stores and prepares an ad's photos; lives on the session's event loop."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def load(
        self, refs: Sequence[PhotoRef], backbones: Mapping[str, Preprocessing]
    ) -> LoadedPhotos:
        """Every one of `refs`. RetryableError: storage is away, ask again."""


class DeadLetterQueue(Protocol):
    """Where records go that can't be used."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Returns when all are safe."""


class Results(Protocol):
    """The transaction in which a batch becomes true."""

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        """Write a batch under the epochs of its partitions, all of it or nothing.

        Raises LeaseLostError, ReleaseChangedError, PhotosGoneError or RetryableError.
        """


@dataclass(frozen=True, slots=True)
class SessionPorts:
    """The outside world of one session.

    `scorer` makes the scoring anew whenever the releases in force have changed. `committed` is
    called after each commit, by its thread: it must not wait.
    """

    stream: EventStream
    membership: Membership
    reader: RecordReader
    revisions: Revisions
    photos: PhotoLoading
    scorer: Callable[[], AdScorer]
    dead_letters: DeadLetterQueue
    results: Results
    committed: Callable[[Batch, CommitResult], None]


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How a session works; seconds throughout."""

    most_photos: int = 384  # in flight
    batch_photos: int = 32  # in one call of the model
    commit_ads: int = 128
    max_records: int = 64  # in one poll
    poll_timeout_s: float = 0.05
    grace_s: float = 0.4  # what is begun may take so long when a partition is asked for
    idle_s: float | None = None  # a session that saw nothing for so long is done; None: never
    report_every_s: float = 10.0
    first_wait_s: float = 0.05
    longest_wait_s: float = 2.0
    outage_s: float = 900.0  # an outage longer than this ends the session with its error
