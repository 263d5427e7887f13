"""What is at work in a session: which events came in, and which offsets may be committed.

Decides three things. How much is in flight at once, in photos, so that memory stays flat however
far behind a session is. That two events of one ad are never at work together: later ones wait, and
the highest revision among them stands for all. And how far a partition's offset may move: up to
the first event that is not done, so that ads overtake a slow one and none is stepped over.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ops.outcomes import DeadLetter, Receipt
from ops.types import AdEvent, AdKey


@dataclass(frozen=True, slots=True)
class Ownership:
    """A partition, as held now; what was read under an earlier one is void."""

    partition: int
    epoch: int


@dataclass(slots=True, eq=False)
class AdWork:
    """One ad at work: its newest event, and those that it stands for."""

    event: AdEvent
    receipt: Receipt
    owner: Ownership
    superseded: list[Receipt] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """In photos; an ad without any counts as one."""
        return max(1, len(self.event.photos))

    def absorb(self, later: "AdWork") -> "AdWork":
        """The work that stands for both: the higher revision, the earlier of equal ones.

        The day is that of the first event, whichever revision wins.
        """
        winner, loser = (
            (self, later) if later.event.revision <= self.event.revision else (later, self)
        )
        winner.receipt = replace(winner.receipt, day=self.receipt.day)
        winner.superseded = [*self.superseded, *later.superseded, loser.receipt]
        return winner


@dataclass(slots=True, eq=False)
class SettledWork:
    """An event that needs no scoring: a dead letter, or one whose revision is held already."""

    receipt: Receipt
    owner: Ownership
    letter: DeadLetter | None = None


Work = AdWork | SettledWork


class _Log:
    """One partition's offsets: in the order in which they came, and which are done."""

    def __init__(self, owner: Ownership) -> None:
        self.owner = owner
        self.open: deque[int] = deque()
        self.done: set[int] = set()

    def after(self, finished: frozenset[int]) -> int | None:
        """The first offset not done once these are; None if nothing moves."""
        following = None
        for offset in self.open:
            if offset not in self.done and offset not in finished:
                return offset if following is not None else None
            following = offset + 1
        return following

    def finish(self, finished: Iterable[int]) -> None:
        self.done.update(finished)
        while self.open and self.open[0] in self.done:
            self.done.discard(self.open.popleft())


class Admission:
    """Safe to use from every stage's thread.

    Args:
        most_photos: in flight at once; a single ad may exceed it.
    """

    def __init__(self, most_photos: int) -> None:
        self.most_photos = most_photos
        self._changed = threading.Condition()
        self._logs: dict[int, _Log] = {}
        self._working: dict[AdKey, AdWork] = {}
        self._waiting: dict[AdKey, deque[AdWork]] = {}
        self._photos = 0

    @property
    def photos(self) -> int:
        """In flight, waiting ones included."""
        return self._photos

    @property
    def events(self) -> int:
        """Read and not yet committed."""
        with self._changed:
            return sum(len(log.open) - len(log.done) for log in self._logs.values())

    def owned(self) -> dict[int, int]:
        """Our partitions, with their epochs."""
        with self._changed:
            return {partition: log.owner.epoch for partition, log in self._logs.items()}

    def own(self, owner: Ownership) -> list[AdWork]:
        """A partition was taken; what was read of it under an earlier epoch is void.

        Returns what `disown` does: it may have been lost and taken again in one look.
        """
        with self._changed:
            following = self.disown(owner.partition)
            self._logs[owner.partition] = _Log(owner)
            return following

    def disown(self, partition: int) -> list[AdWork]:
        """A partition is no longer ours: what was read from it is void.

        Returns the ads of other partitions that waited for a void one, to begin now.
        """
        with self._changed:
            log = self._logs.pop(partition, None)
            if log is None:
                return []
            for key, queue in list(self._waiting.items()):
                kept = deque(work for work in queue if work.owner != log.owner)
                self._photos -= sum(work.weight for work in queue if work.owner == log.owner)
                self._waiting[key] = kept
            is_stale = [work for work in self._working.values() if work.owner == log.owner]
            return self._end(is_stale)

    def owner(self, partition: int) -> Ownership | None:
        """How a partition is held; None where it is not ours."""
        with self._changed:
            log = self._logs.get(partition)
            return None if log is None else log.owner

    def is_stale(self, work: Work) -> bool:
        """Whether the partition that this was read from has gone since."""
        return self.owner(work.owner.partition) != work.owner

    def busy(self, partition: int) -> bool:
        """Whether anything of a partition is not committed yet."""
        with self._changed:
            log = self._logs.get(partition)
            return log is not None and bool(log.open)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether another ad may come in; waits for it."""
        with self._changed:
            return self._changed.wait_for(lambda: self._photos < self.most_photos, timeout_s)

    def admit(self, work: Work) -> AdWork | None:
        """Note an event; the ad to begin now, None where it waits for an earlier event of it.

        A settled event is noted alone, a void one not at all. Offsets of a partition come in
        ascending order.
        """
        with self._changed:
            if self.is_stale(work):
                return None  # a commit found the partition lost since this was read
            self._logs[work.owner.partition].open.append(work.receipt.offset)
            if isinstance(work, SettledWork):
                return None
            key = work.event.key
            if key not in self._working:
                self._working[key] = work
                self._photos += work.weight
                return work
            queue = self._waiting.setdefault(key, deque())
            # An ad is on one partition, unless the producer's partitioner has changed.
            if queue and queue[-1].owner == work.owner:
                earlier = queue.pop()
                self._photos -= earlier.weight
                work = earlier.absorb(work)
            queue.append(work)
            self._photos += work.weight
            return None

    def next_offsets(self, works: Iterable[Work]) -> dict[int, int]:
        """How far each partition's offset may move in the commit of these."""
        with self._changed:
            moved = {
                partition: self._logs[partition].after(frozenset(offsets))
                for partition, offsets in _offsets(works).items()
                if partition in self._logs
            }
            return {partition: offset for partition, offset in moved.items() if offset is not None}

    def finish(self, works: Iterable[Work]) -> list[AdWork]:
        """These are committed; the ads that waited for them, to begin now."""
        works = list(works)
        with self._changed:
            for partition, offsets in _offsets(works).items():
                if partition in self._logs:
                    self._logs[partition].finish(offsets)
            return self._end(works)

    def _end(self, works: Iterable[Work]) -> list[AdWork]:
        """Let go of these; the ads that waited for them."""
        following = []
        for work in works:
            if not isinstance(work, AdWork) or self._working.get(work.event.key) is not work:
                continue
            del self._working[work.event.key]
            self._photos -= work.weight
            queue = self._waiting.get(work.event.key)
            if queue:
                later = self._working[work.event.key] = queue.popleft()
                following.append(later)
            if not queue:
                self._waiting.pop(work.event.key, None)
        self._changed.notify_all()
        return following


def _offsets(works: Iterable[Work]) -> Mapping[int, list[int]]:
    found: dict[int, list[int]] = {}
    for work in works:
        places = [work.receipt, *(work.superseded if isinstance(work, AdWork) else ())]
        found.setdefault(work.owner.partition, []).extend(place.offset for place in places)
    return found
