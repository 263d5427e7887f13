"""In-memory ports of a session: Kafka, PostgreSQL, photos and a model.

The ports keep the contracts of the real ones: the commit checks epochs, revisions, releases and
offsets. The session and its threads are the real ones. `hold` blocks calls of an operation until
`free`; `fail` makes them raise; `until` waits for a condition.
"""

import asyncio
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Self

import numpy as np

from ops.errors import LeaseLostError, PhotosGoneError, ReleaseChangedError
from ops.events.parse import EventLimits
from ops.models.release import Preprocessing
from ops.outcomes import AdOutcome, Batch, CommitResult, DeadLetter
from ops.scoring.ads import AdScorer, LoadedPhotos
from ops.scoring.ready_release import ReadyRelease
from ops.scoring.records import ReceiptRule, RecordReader
from ops.session.admission import Ownership
from ops.session.careful import DEATHS
from ops.session.pipeline import Session
from ops.session.ports import (
    CarefulReading,
    PartitionAssigned,
    PartitionRevoked,
    SessionPolicy,
    SessionPorts,
)
from ops.session.tally import Tally
from ops.tasks import all_tasks
from ops.types import AdEvent, AdKey, PhotoRef, Rendition, StreamRecord
from tests.support.batches import sha
from tests.support.tiny_release import TinyBackbone, tiny_photo, tiny_release

PATIENCE_S = 90.0
QUICK = SessionPolicy(
    poll_timeout_s=0.005, report_every_s=0.05, first_wait_s=0.001, longest_wait_s=0.005
)


class World:
    """All ports of one session; the test grants the partitions."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.blocked: set[str] = set()
        self.failures: dict[str, list[Exception]] = defaultdict(list)
        self.calls: list[str] = []
        self.log: dict[int, list[StreamRecord]] = defaultdict(list)
        self.passed: dict[int, int] = {}  # ends of partitions, behind markers and removed records
        self.letters: list[DeadLetter] = []
        self.commits: list[Batch] = []  # successful ones
        self.fenced: list[frozenset[int]] = []  # partitions of commits that were rejected
        self.ads: dict[AdKey, AdOutcome] = {}
        self.written: Counter[AdKey] = Counter()
        self.photos_stored: set[bytes] = set()
        self.durable: set[bytes] = set()  # renditions
        self.loads: Counter[str] = Counter()
        self.offsets: dict[int, int] = {}
        self.epochs: dict[int, int] = {}
        self.releases: tuple[ReadyRelease, ...] = (self.release("r1"),)
        self.reports: list[Tally] = []
        self.quarantine = WorldQuarantine(self)
        self.stream, self.membership, self.photos = (
            WorldStream(self),
            WorldMembership(self),
            WorldPhotos(self),
        )

    # --- the test's side

    def renew(self) -> None:
        """Give the next session a membership and a consumer of its own."""
        self.stream, self.membership = WorldStream(self), WorldMembership(self)

    def hold(self, act: str) -> None:
        """Block an operation; "photo URL" blocks the loading of one photo, "store SHA256" (hex)
        the storing of its rendition."""
        with self.changed:
            self.blocked.add(act)

    def free(self, *acts: str) -> None:
        with self.changed:
            self.blocked.difference_update(acts)
            self.changed.notify_all()
        self.photos.recheck()

    def fail(self, act: str, *errors: Exception) -> None:
        """Make an operation raise these errors, one for each call."""
        with self.changed:
            self.failures[act].extend(errors)

    def recover(self, act: str) -> None:
        """Let an operation raise no more errors."""
        with self.changed:
            self.failures[act].clear()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true."""
        with self.changed:
            if not self.changed.wait_for(lambda: bool(condition()), PATIENCE_S):
                raise AssertionError(f"the condition never held; last calls {self.calls[-20:]}")

    def publish(
        self, ad_id: str, *urls: str, revision: int = 1, partition: int = 0, **changes: object
    ) -> int:
        """Put an event on the topic; returns its offset."""
        event = {
            "schema": 1,
            "event_id": f"{ad_id}-{revision}",
            "kind": "upserted",
            "catalog": "kg",
            "ad_id": ad_id,
            "revision": revision,
            "occurred_at": "2026-05-01T12:00:00Z",
            "photos": [{"url": url} for url in urls],
            **changes,
        }
        return self.publish_bytes(json.dumps(event).encode(), partition)

    def publish_bytes(self, value: bytes, partition: int = 0) -> int:
        with self.changed:
            offset, now_ms = len(self.log[partition]), int(datetime.now(UTC).timestamp() * 1e3)
            record = StreamRecord("ads", partition, offset, now_ms, None, value)
            self.log[partition].append(record)
            self.changed.notify_all()
            return offset

    def release(self, name: str, backbone: str = "b1") -> ReadyRelease:
        return tiny_release(name, backbone, GatedBackbone(self))

    def committed(self, *ad_ids: str) -> bool:
        return all(AdKey("kg", ad_id) in self.ads for ad_id in ad_ids)

    def labels(self) -> dict[str, dict[str, str]]:
        """The labels written, by ad and release."""
        return {
            key.ad_id: {name: items[0].label for name, items in ad.predictions.items() if items}
            for key, ad in self.ads.items()
        }

    def session(
        self, policy: SessionPolicy = QUICK, keep_going: Callable[[], bool] = lambda: True
    ) -> Session:
        ports = SessionPorts(
            stream=self.stream,
            membership=self.membership,
            reader=RecordReader(EventLimits(), ReceiptRule(date(2026, 1, 1))),
            revisions=self.revisions,
            photos=self.photos,
            scorer=self.scorer,
            dead_letters=self,
            results=self,
            quarantine=self.quarantine,
            committed=lambda batch, result: self.act("committed"),
        )
        return Session(ports, policy, report=self.reports.append, keep_going=keep_going)

    # --- the ports' side

    def act(self, name: str) -> None:
        """Record a call; wait while the operation is blocked; raise its next failure, if any."""
        with self.changed:
            self.calls.append(name)
            self.changed.notify_all()
            self.changed.wait_for(lambda: name not in self.blocked, PATIENCE_S)
            if self.failures[name]:
                raise self.failures[name].pop(0)

    def scorer(self) -> AdScorer:
        self.act("scorer")
        return AdScorer(self.releases, tuple(all_tasks()))

    def revisions(self, events: Sequence[AdEvent]) -> set[tuple[AdKey, int]]:
        self.act("revisions")
        return {(e.key, e.revision) for e in events if e.revision <= self._revision(e.key)}

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.act("dead letters")
        self.letters.extend(letters)

    def stored(self, sha256: bytes) -> None:
        """A photo's rendition is about to be durable; a subclass may raise."""

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        """Write all or nothing, with the checks of `resources/sessions/commits/commit.py`."""
        self.act("commit")
        with self.changed:
            lost = frozenset(p for p in batch.partitions if self.epochs.get(p) != epochs[p])
            if lost:
                self.fenced.append(batch.partitions)
                raise LeaseLostError(lost, "another session owns them")
            if batch.releases != tuple(release.name for release in self.releases):
                raise ReleaseChangedError("the active releases changed")
            assert {photo.sha256 for photo in batch.renditions} <= self.durable, "not durable"
            new = {photo.photo_sha256 for photo in batch.renditions}
            referenced = {photo.sha256 for ad in batch.ads for photo in ad.photos} - {None}
            referenced |= {embedding.sha256 for embedding in batch.embeddings}
            if not referenced <= new | self.photos_stored:
                raise PhotosGoneError("a photo was deleted")
            self.photos_stored |= new
            accepted = [ad for ad in batch.ads if ad.event.revision > self._revision(ad.event.key)]
            assert len({ad.event.key for ad in batch.ads}) == len(batch.ads), "an ad twice"
            for ad in accepted:
                self.ads[ad.event.key] = ad
                self.written[ad.event.key] += 1
            for partition, offset in batch.next_offsets.items():
                assert offset > self.offsets.get(partition, 0), "offsets never move back"
                self.offsets[partition] = offset
            self.commits.append(batch)
            self.changed.notify_all()
            days = {ad.event.key: ad.receipt.day for ad in accepted}
            return CommitResult(days, datetime.now(UTC))

    def _revision(self, key: AdKey) -> int:
        return self.ads[key].event.revision if key in self.ads else -1


class WorldStream:
    """The topic, as one consumer sees it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.next: dict[int, int] = {}
        self.polls = 0

    def assign(self, offsets: Mapping[int, int]) -> None:
        self.world.act("assign")
        self.next = dict(offsets)

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        self.world.act("poll")
        self.polls += 1
        records: list[StreamRecord] = []
        with self.world.changed:
            self.world.changed.wait_for(self._any, timeout_s)
            for partition, position in self.next.items():
                some = self.world.log[partition][position:][: max_records - len(records)]
                self.next[partition] += len(some)
                records += some
        return records

    def positions(self) -> Mapping[int, int]:
        with self.world.changed:
            return {
                partition: max(position, self.world.passed.get(partition, 0))
                if position == len(self.world.log[partition])
                else position
                for partition, position in self.next.items()
            }

    def _any(self) -> bool:
        return any(len(self.world.log[p]) > position for p, position in self.next.items())


class WorldMembership:
    """The leases of one session; the test acts for the other sessions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.owned: dict[int, int] = {}  # epochs of the partitions that this session believes in
        self.released: list[int] = []
        self._changes: list[PartitionAssigned | PartitionRevoked] = []
        self._left = threading.Event()

    def grant(self, *partitions: int, waited: bool = False) -> None:
        """Assign partitions, from their committed offsets on, under a new epoch."""
        with self.world.changed:
            for partition in partitions:
                epoch = self.world.epochs.get(partition, 0) + 1
                self.world.epochs[partition] = self.owned[partition] = epoch
                offset = self.world.offsets.get(partition, 0)
                owner = Ownership(partition, epoch)
                self._changes.append(PartitionAssigned(owner, offset, waited))

    def revoke(self, partition: int) -> None:
        """Revoke a partition, as when another session's share has grown."""
        with self.world.changed:
            self._changes.append(PartitionRevoked(partition))

    def steal(self, partition: int) -> None:
        """Give a partition to another session without notifying this one."""
        with self.world.changed:
            self.world.epochs[partition] += 1

    def notify_lost(self, partition: int) -> None:
        """Notify the session of a lost partition, as a renewal of its leases does."""
        with self.world.changed:
            self.owned.pop(partition, None)
            self._changes.append(PartitionRevoked(partition, lost=True))

    # --- the session's side

    def changes(self) -> list[PartitionAssigned | PartitionRevoked]:
        with self.world.changed:
            changes, self._changes = self._changes, []
            return changes

    def release(self, partition: int) -> None:
        self.world.act("give up")
        with self.world.changed:
            if self.owned.pop(partition, None) is not None:
                self.released.append(partition)
            self.world.changed.notify_all()

    def mark_lost(self, partition: int) -> None:
        self.notify_lost(partition)

    def leave(self) -> None:
        with self.world.changed:
            if not self._left.is_set():
                self._left.set()
                self._changes.extend(PartitionRevoked(partition) for partition in self.owned)

    @property
    def left(self) -> bool:
        return self._left.is_set()


class WorldQuarantine:
    """The deaths of sessions, by the rules of `resources/sessions/group/deaths.py`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.deaths: dict[int, tuple[int, int]] = {}  # by partition: the offset, how many there
        self.careful_from: dict[int, int] = {}
        self.attempts: dict[int, tuple[int, int, int]] = {}  # the offset, the epoch, its deaths

    def died(self) -> None:
        """The session died with its partitions: what the next one to acquire them finds."""
        for partition, epoch in self.world.epochs.items():
            offset = self.world.offsets.get(partition, -1)
            at, deaths = self.deaths.get(partition, (offset, 0))
            deaths = deaths + 1 if at == offset else 1
            self.deaths[partition] = (offset, deaths)
            if deaths >= DEATHS:
                self.careful_from[partition] = offset
            attempt, during, count = self.attempts.get(partition, (-1, 0, 0))
            if during == epoch and offset <= attempt:
                self.attempts[partition] = (attempt, during, count + 1)

    def read(self, partitions: Collection[int], records: int) -> dict[int, CarefulReading]:
        self.world.act("quarantine")
        readings = {}
        for partition in partitions:
            first = self.careful_from.get(partition)
            if first is not None and self.world.offsets.get(partition, -1) < first + records:
                attempt, _, deaths = self.attempts.get(partition, (None, 0, 0))
                readings[partition] = CarefulReading(first + records, attempt, deaths)
        return readings

    def attempt(self, owner: Ownership, offset: int) -> None:
        self.world.act("attempt")
        at, during, deaths = self.attempts.get(owner.partition, (offset, 0, 0))
        if during > owner.epoch:
            return
        self.attempts[owner.partition] = (offset, owner.epoch, deaths if at == offset else 0)


class WorldPhotos:
    """Photos drawn from their URLs; each can be blocked on its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recheck = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._loop = None

    def recheck(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._recheck.set)

    async def load(
        self,
        refs: Sequence[PhotoRef],
        views: Mapping[str, Preprocessing],
        *,
        answered_by: Sequence[tuple[str, str]] = (),
        came_back: Callable[[], None],
    ) -> LoadedPhotos:
        photos = {}
        for ref in refs:
            url = str(ref.url)
            with self.world.changed:
                self.world.loads[url] += 1
            self.world.act("photos")
            stored = sha(url) in self.world.photos_stored
            while f"photo {url}" in self.world.blocked:
                self._recheck.clear()
                await self._recheck.wait()
            photos[ref] = tiny_photo(url, views, stored=stored)
            came_back()
        return LoadedPhotos(photos)

    async def store_renditions(
        self, renditions: Sequence[Rendition], *, came_back: Callable[[], None]
    ) -> None:
        for rendition in renditions:
            self.world.act("store")
            name = f"store {rendition.photo_sha256.hex()}"
            while name in self.world.blocked:
                self._recheck.clear()
                await self._recheck.wait()
            self.world.stored(rendition.photo_sha256)
            with self.world.changed:
                self.world.durable.add(rendition.sha256)
                self.world.changed.notify_all()
            came_back()


class GatedBackbone(TinyBackbone):
    """The model, which a test can block."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def embed(self, images: Sequence[np.ndarray]) -> np.ndarray:
        if len(images):
            self.world.act("embed")
        return super().embed(images)


class Working:
    """A session that runs in a thread; at the end of the block it is asked to leave."""

    def __init__(
        self, world: World, policy: SessionPolicy = QUICK, **session: Callable[[], bool]
    ) -> None:
        self.world = world
        self.session = world.session(policy, **session)
        self.total = Tally()
        self.error: BaseException | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.world.membership.leave()
        if kind is None:
            self._thread.join(PATIENCE_S)
        stuck = self._thread.is_alive()
        if stuck:  # a test has failed: leave no thread behind
            self.world.free(*list(self.world.blocked))
            self.session.state.end()
            self._thread.join(PATIENCE_S)
        assert kind is not None or not stuck, "the session did not end"
        names = {thread.name for thread in threading.enumerate()}
        assert not any(name.startswith("session-") for name in names), names

    def _run(self) -> None:
        try:
            self.total = self.session.run()
        except BaseException as error:  # noqa: BLE001 - the test's thread checks it
            self.error = error
        with self.world.changed:
            self.ended = True
            self.world.changed.notify_all()

    def until_ended(self) -> None:
        self.world.until(lambda: self.ended)
