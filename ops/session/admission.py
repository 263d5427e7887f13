"""Tracks the events that a session processes, and the offsets that it may commit.

Owns three rules:

- The number of photos in flight is limited, so that memory use does not grow with the lag.
- Two events of one ad are never processed at the same time. Later events wait, and only the
  highest revision among them is processed.
- A partition's offset advances up to its first unfinished event. Ads can overtake a slow one,
  and no event is skipped.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ops.outcomes import DeadLetter, Receipt
from ops.types import AdEvent, AdKey, StreamRecord


@dataclass(frozen=True, slots=True)
class Ownership:
    """A partition with the epoch of its lease; work read under an earlier epoch is stale."""

    partition: int
    epoch: int


@dataclass(slots=True, eq=False)
class AdWork:
    """An ad in process: its newest event, and the receipts of the events that it supersedes."""

    event: AdEvent
    receipt: Receipt
    owner: Ownership
    record: StreamRecord  # as it was read: an ad that can't be processed becomes a dead letter
    superseded: list[Receipt] = field(default_factory=list)
    reloads: int = 0  # because photos that it refers to were deleted before it was committed

    @property
    def weight(self) -> int:
        """The number of photos; an ad without photos counts as one."""
        return max(1, len(self.event.photos))

    def absorb(self, later: "AdWork") -> "AdWork":
        """Merge with a later event: the higher revision wins, the earlier of equal revisions.

        The day is always that of the earlier event.
        """
        winner, loser = (
            (self, later) if later.event.revision <= self.event.revision else (later, self)
        )
        winner.receipt = replace(winner.receipt, day=self.receipt.day)
        winner.superseded = [*self.superseded, *later.superseded, loser.receipt]
        return winner


@dataclass(slots=True, eq=False)
class SettledWork:
    """An event that needs no scoring: a dead letter, or one whose revision is already stored."""

    receipt: Receipt
    owner: Ownership
    letter: DeadLetter | None = None
    no_event: bool = False  # the offset holds none: a transaction's marker, or a removed record


Work = AdWork | SettledWork


class _Log:
    """The offsets of one partition: those not committed yet in order, and those finished."""

    def __init__(self, owner: Ownership) -> None:
        self.owner = owner
        self.open: deque[int] = deque()
        self.done: set[int] = set()

    def after(self, finished: frozenset[int]) -> int | None:
        """The first unfinished offset once these are finished; None if it stays where it is."""
        following = None
        for offset in self.open:
            if offset not in self.done and offset not in finished:
                return offset if following is not None else None
            following = offset + 1
        return following

    def finish(self, finished: Iterable[int]) -> None:
        """Mark offsets as finished; those that were so before change nothing."""
        if not self.open:
            return
        first = self.open[0]
        self.done.update(offset for offset in finished if offset >= first)
        while self.open and self.open[0] in self.done:
            self.done.discard(self.open.popleft())


class Admission:
    """The events in process; safe to use from the thread of any stage.

    Args:
        max_photos: the limit of photos in flight; a single ad may exceed it.
    """

    def __init__(self, max_photos: int) -> None:
        self.max_photos = max_photos
        self._changed = threading.Condition()
        self._logs: dict[int, _Log] = {}
        self._working: dict[AdKey, AdWork] = {}
        self._waiting: dict[AdKey, deque[AdWork]] = {}
        self._photos = 0
        self._admitted = 0
        self._returned = 0

    @property
    def over(self) -> int:
        """The number of events that were admitted so far and are neither in process nor returned.

        An event is returned if its partition leaves the session before the event is committed.
        """
        with self._changed:
            return self._admitted - self._returned - self.events

    @property
    def photos(self) -> int:
        """The number of photos in flight, including those of waiting ads."""
        return self._photos

    @property
    def events(self) -> int:
        """The number of events that were admitted and are not committed yet."""
        with self._changed:
            return sum(len(log.open) - len(log.done) for log in self._logs.values())

    def owned(self) -> dict[int, int]:
        """The session's partitions, with their epochs."""
        with self._changed:
            return {partition: log.owner.epoch for partition, log in self._logs.items()}

    def add_partition(self, owner: Ownership) -> list[AdWork]:
        """Add an acquired partition; work read from it under an earlier epoch becomes stale.

        Returns:
            The same as `remove_partition`: the partition may have been lost and acquired again
            since the session last followed its membership.
        """
        with self._changed:
            unblocked = self.remove_partition(owner.partition)
            self._logs[owner.partition] = _Log(owner)
            return unblocked

    def remove_partition(self, partition: int) -> list[AdWork]:
        """Remove a partition; work read from it becomes stale. A repeated call does nothing.

        Returns:
            The ads of other partitions that waited for a stale one, to be started now.
        """
        with self._changed:
            log = self._logs.pop(partition, None)
            if log is None:
                return []
            self._returned += len(log.open) - len(log.done)
            for key, queue in list(self._waiting.items()):
                remaining = deque(work for work in queue if work.owner != log.owner)
                self._photos -= sum(work.weight for work in queue if work.owner == log.owner)
                self._waiting[key] = remaining
            stale = [work for work in self._working.values() if work.owner == log.owner]
            return self._end(stale)

    def owner(self, partition: int) -> Ownership | None:
        """The ownership of a partition; None where the session does not own it."""
        with self._changed:
            log = self._logs.get(partition)
            return None if log is None else log.owner

    def is_stale(self, work: Work) -> bool:
        """Whether the session has lost or released the work's partition since it was read."""
        return self.owner(work.owner.partition) != work.owner

    def busy(self, partition: int) -> bool:
        """Whether a partition has events that are not committed yet."""
        with self._changed:
            log = self._logs.get(partition)
            return log is not None and bool(log.open)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until no event is in process; False when the timeout expires first."""
        with self._changed:
            return self._changed.wait_for(lambda: self.events == 0, timeout_s)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another ad may be admitted; False when the timeout expires first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._photos < self.max_photos, timeout_s)

    def admit(self, work: Work) -> AdWork | None:
        """Add an event. Offsets of a partition must be added in ascending order.

        Only the offset of a settled event is recorded. A stale event is ignored.

        Returns:
            The ad to start now; None where it waits for an earlier event of the same ad.
        """
        with self._changed:
            if self.is_stale(work):
                return None  # a commit found that the partition was lost since this was read
            self._logs[work.owner.partition].open.append(work.receipt.offset)
            self._admitted += 1
            if isinstance(work, SettledWork):
                return None
            key = work.event.key
            if key not in self._working:
                self._working[key] = work
                self._photos += work.weight
                return work
            queue = self._waiting.setdefault(key, deque())
            # All events of an ad are on one partition, unless the producer changed its partitioner.
            if queue and queue[-1].owner == work.owner:
                earlier = queue.pop()
                self._photos -= earlier.weight
                work = earlier.absorb(work)
            queue.append(work)
            self._photos += work.weight
            return None

    def next_offsets(self, works: Iterable[Work]) -> dict[int, int]:
        """The offsets to commit together with these works; partitions that stay are left out."""
        with self._changed:
            following = {
                partition: self._logs[partition].after(frozenset(offsets))
                for partition, offsets in _offsets(works).items()
                if partition in self._logs
            }
            return {
                partition: offset for partition, offset in following.items() if offset is not None
            }

    def finish(self, works: Iterable[Work]) -> list[AdWork]:
        """Mark works as committed; returns the ads that waited for them, to be started now."""
        works = list(works)
        with self._changed:
            for partition, offsets in _offsets(works).items():
                if partition in self._logs:
                    self._logs[partition].finish(offsets)
            return self._end(works)

    def _end(self, works: Iterable[Work]) -> list[AdWork]:
        """Remove works; returns the ads that waited for them."""
        unblocked = []
        for work in works:
            if not isinstance(work, AdWork) or self._working.get(work.event.key) is not work:
                continue
            del self._working[work.event.key]
            self._photos -= work.weight
            queue = self._waiting.get(work.event.key)
            if queue:
                later = self._working[work.event.key] = queue.popleft()
                unblocked.append(later)
            if not queue:
                self._waiting.pop(work.event.key, None)
        self._changed.notify_all()
        return unblocked


def _offsets(works: Iterable[Work]) -> Mapping[int, list[int]]:
    """The offsets of the works by partition, including those of superseded events."""
    offsets: dict[int, list[int]] = {}
    for work in works:
        receipts = [work.receipt, *(work.superseded if isinstance(work, AdWork) else ())]
        offsets.setdefault(work.owner.partition, []).extend(r.offset for r in receipts)
    return offsets
