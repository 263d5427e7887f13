"""Three of a session's four stages: intake, model and commit. The fourth is `photo_stage.py`.

Each stage takes what has queued for it, does not wait to fill a batch, and drops stale work: what
was read from a partition that the session no longer owns.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import structlog

from ops.errors import LeaseLostError, PhotosGoneError, ReleaseChangedError
from ops.outcomes import AdOutcome, Batch, DeadLetter, PhotoEmbedding
from ops.session.admission import AdWork, SettledWork, Work
from ops.session.ports import PartitionAssigned
from ops.session.state import ScoredWork, SessionState
from ops.types import Rendition, StreamRecord

log = structlog.get_logger()

Begin = Callable[[Iterable[AdWork]], None]


class IntakeStage:
    """Polls the session's partitions, parses events, and admits them while there is room."""

    def __init__(self, state: SessionState, begin: Begin, drop_stale: Callable[[], None]) -> None:
        self.state = state
        self._begin = begin
        self._drop_stale = drop_stale
        self._positions: dict[int, int] = {}  # the next offset to poll
        self._revoked: dict[int, float] = {}  # the deadline for work in process, by partition
        self._pending: deque[Work] = deque()  # read, and not admitted yet

    def run(self) -> None:
        state = self.state
        while not state.ended.is_set():
            self._apply_membership_changes()
            self._release_revoked()
            if state.ports.membership.left and not state.admission.owned():
                state.end()
                return
            if not state.admission.wait_for_room(0):
                state.admission.wait_for_room(state.policy.poll_timeout_s)
            elif self._pending:
                self._admit()
            else:
                self._poll()

    def _apply_membership_changes(self) -> None:
        """Start to read assigned partitions, and stop to read revoked ones."""
        changes = self.state.ports.membership.changes()
        if not changes:
            return
        for change in changes:
            if isinstance(change, PartitionAssigned):
                self._begin(self.state.admission.add_partition(change.owner))
                self._drop_stale()
                self._positions[change.owner.partition] = change.offset
                self.state.last_seen = time.monotonic()
                self._revoked.pop(change.owner.partition, None)  # it was lost and acquired again
                continue
            partition = change.partition
            grace_s = 0.0 if change.lost else self.state.policy.grace_s
            deadline = time.monotonic() + grace_s
            self._revoked[partition] = min(deadline, self._revoked.get(partition, deadline))
            self._positions.pop(partition, None)
        self._pending = deque(
            work
            for work in self._pending
            if work.owner.partition in self._positions and not self.state.admission.is_stale(work)
        )
        self.state.retry("kafka", self.state.ports.stream.assign, dict(self._positions))

    def _release_revoked(self) -> None:
        """Release revoked partitions once their work is committed or the grace period is over."""
        for partition, deadline in list(self._revoked.items()):
            admission = self.state.admission
            if admission.busy(partition) and time.monotonic() < deadline:
                continue
            del self._revoked[partition]
            self._begin(admission.remove_partition(partition))
            self._drop_stale()
            self.state.retry("leases", self.state.ports.membership.release, partition)

    def _poll(self) -> None:
        policy = self.state.policy
        if not self._positions:
            self.state.ended.wait(policy.poll_timeout_s / 5)
            return
        records = self.state.retry(
            "kafka",
            self.state.ports.stream.poll,
            max_records=policy.max_records,
            timeout_s=policy.poll_timeout_s,
        )
        if records:
            self.state.last_seen = time.monotonic()
            self._positions.update({record.partition: record.offset + 1 for record in records})
            self._pending.extend(self._read(records))
            self._admit()

    def _read(self, records: Sequence[StreamRecord]) -> list[Work]:
        ports, now = self.state.ports, datetime.now(UTC)
        read = [(record, ports.reader.read(record, now)) for record in records]
        events = [item[0] for _, item in read if not isinstance(item, DeadLetter)]
        stale = self.state.retry("revisions", ports.revisions, events) if events else set()
        works: list[Work] = []
        for record, item in read:
            owner = self.state.admission.owner(record.partition)
            if owner is None:
                continue
            if isinstance(item, DeadLetter):
                works.append(SettledWork(item.receipt, owner, item))
            elif (item[0].key, item[0].revision) in stale:
                works.append(SettledWork(item[1], owner))
            else:
                works.append(AdWork(*item, owner))
        return works

    def _admit(self) -> None:
        admission = self.state.admission
        while self._pending and admission.wait_for_room(0):
            work = self._pending.popleft()
            ready = admission.admit(work)
            if isinstance(work, SettledWork):
                self.state.scored.put(work)
            elif ready is not None:
                self._begin([ready])


class ModelStage:
    """Embeds and predicts the queued ads, up to a batch at a time."""

    def __init__(self, state: SessionState, begin: Begin) -> None:
        self.state = state
        self._begin = begin

    def run(self) -> None:
        state = self.state
        max_photos = state.policy.batch_photos
        while taken := state.loaded.take(max_photos, lambda item: item.work.weight):
            scorer = state.scorer
            items = [item for item in taken if not state.admission.is_stale(item.work)]
            # A release with another backbone became active while they waited: load them again.
            unfit = [item for item in items if not item.ad.ready_for(scorer.backbones)]
            self._begin(item.work for item in unfit)
            fit = tuple(item for item in items if item not in unfit)
            if fit:
                now = time.monotonic()
                scored = scorer.score([item.ad.queued((now - item.since) * 1e3) for item in fit])
                state.scored.put(ScoredWork(fit, scored, scorer.names))


class CommitStage:
    """Commits what has queued: dead letters first, then rows and offsets in one transaction."""

    def __init__(self, state: SessionState, begin: Begin) -> None:
        self.state = state
        self._begin = begin

    def run(self) -> None:
        state = self.state
        while items := state.scored.take(state.policy.commit_ads, _ads_of):
            self._commit(items)

    def _commit(self, items: Sequence[ScoredWork | SettledWork]) -> None:
        state, ports = self.state, self.state.ports
        items = self._current(items)
        letters = [w.letter for w in items if isinstance(w, SettledWork) and w.letter is not None]
        if letters:
            state.retry("dead letters", ports.dead_letters.send, letters)
        while True:
            works, batch = self._batch(items)
            if not works:
                return
            epochs = {work.owner.partition: work.owner.epoch for work in works}
            try:
                result = state.retry("commit", ports.results.commit, batch, epochs)
            except LeaseLostError as error:
                log.warning("session.lease_lost", partitions=sorted(error.partitions))
                for partition in error.partitions:
                    self._begin(state.admission.remove_partition(partition))
                    ports.membership.mark_lost(partition)
            except ReleaseChangedError as error:
                log.info("session.release_changed", change=str(error))
                state.scorer = state.retry("releases", ports.scorer)
                return self._requeue(items, load=False)
            except PhotosGoneError as error:
                log.info("session.photos_deleted", photos=str(error))
                return self._requeue(items, load=True)
            else:
                self._begin(state.admission.finish(works))
                state.count(batch, result)
                ports.committed(batch, result)
                return

    def _current(self, items: Sequence[ScoredWork | SettledWork]) -> list[ScoredWork | SettledWork]:
        """The items scored under the active releases; the others go back to the model."""
        current = []
        for item in items:
            if isinstance(item, ScoredWork) and item.releases != self.state.scorer.names:
                self.state.loaded.put(*item.loaded)
            else:
                current.append(item)
        return current

    def _requeue(self, items: Sequence[ScoredWork | SettledWork], *, load: bool) -> None:
        """Send ads back to the model, or to the photo stage with `load`; requeue settled work."""
        for item in items:
            if isinstance(item, SettledWork):
                self.state.scored.put(item)
            elif load:
                self._begin(loaded.work for loaded in item.loaded)
            else:
                self.state.loaded.put(*item.loaded)

    def _batch(self, items: Sequence[ScoredWork | SettledWork]) -> tuple[list[Work], Batch]:
        """The items that are not stale, as works and as one batch."""
        is_stale = self.state.admission.is_stale
        settled = [w for w in items if isinstance(w, SettledWork) and not is_stale(w)]
        ads: list[AdOutcome] = []
        works: list[AdWork] = []
        renditions: dict[bytes, Rendition] = {}
        embeddings: dict[tuple[str, bytes], PhotoEmbedding] = {}
        for item in items:
            if isinstance(item, SettledWork):
                continue
            renditions.update({photo.photo_sha256: photo for photo in item.scored.renditions})
            embeddings.update({(e.backbone, e.sha256): e for e in item.scored.embeddings})
            for loaded, ad in zip(item.loaded, item.scored.ads, strict=True):
                if not is_stale(loaded.work):
                    ads.append(ad)
                    works.append(loaded.work)
        current: list[Work] = [*works, *settled]
        return current, Batch(
            releases=self.state.scorer.names,
            ads=tuple(ads),
            superseded=sum(len(work.superseded) for work in works)
            + sum(work.letter is None for work in settled),
            dead_letters=tuple(work.letter for work in settled if work.letter is not None),
            renditions=tuple(renditions.values()),
            embeddings=tuple(embeddings.values()),
            partitions=frozenset(work.owner.partition for work in current),
            next_offsets=self.state.admission.next_offsets(current),
        )


def _ads_of(item: ScoredWork | SettledWork) -> int:
    return len(item.loaded) if isinstance(item, ScoredWork) else 1
