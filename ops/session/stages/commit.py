"""The commit stage: writes what has queued, rows and offsets in one transaction.

An ad whose new renditions are not durable yet comes back once they are, and delays no other.
Dead letters are published before the commit that skips them. If a batch can't be committed, for a
row that PostgreSQL rejects, it is halved until the ad at fault is alone, and that becomes a dead
letter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

import structlog

from ops.errors import (
    ConfigurationError,
    LeaseLostError,
    PhotosGoneError,
    ReleaseChangedError,
    StoredObjectError,
)
from ops.isolation import describe, divided, is_of_item
from ops.outcomes import (
    AdOutcome,
    Batch,
    CommitResult,
    DeadLetter,
    PhotoAnswer,
    PhotoEmbedding,
    Receipt,
)
from ops.scoring.ads import AdScorer, Scored
from ops.session.admission import AdWork, SettledWork, Work
from ops.session.state import FailedWork, Finished, LoadedWork, ScoredWork, SessionState
from ops.types import Rendition

NAME = "session-commit"

MAX_RELOADS = 5
"""How often an ad is loaded again for deleted photos, until the foreign key is its own fault."""

log = structlog.get_logger()

Begin = Callable[[Iterable[AdWork]], None]


class CommitStage:
    """Commits what has queued: dead letters first, then rows and offsets in one transaction."""

    def __init__(self, state: SessionState, begin: Begin) -> None:
        self.state = state
        self._begin = begin

    def run(self) -> None:
        state = self.state
        while True:
            state.beats.rest(NAME)
            items = state.scored.take(state.policy.commit_ads, _ads_of)
            state.beats.beat(NAME)
            if not items:
                return
            try:
                self._commit(items)
            except BaseException as error:
                if not is_of_item(error):
                    raise
                divided(list(_single(items)), self._commit, self._refuse)

    def _stored(self, items: Iterable[Finished]) -> list[Finished]:
        """The items whose renditions are durable; other ads return to the queue later."""
        ready: list[Finished] = []
        others: list[ScoredWork] = []
        for item in items:
            if not isinstance(item, ScoredWork) or all(map(_is_stored, item.loaded)):
                ready.append(item)
                continue
            for ad in _single_ads(item):
                (ready if _is_stored(ad.loaded[0]) else others).append(ad)
        for ad in others:
            stored = ad.loaded[0].stored
            if not stored.cancelled():  # otherwise it is stale, or was loaded anew
                stored.add_done_callback(partial(self._return, ad))
        return ready

    def _return(self, item: ScoredWork, _: "Future[None]") -> None:
        self.state.scored.put(item)

    def _commit(self, items: Sequence[Finished]) -> tuple[()]:
        self.state.beats.beat(NAME)
        items = self._stored(items)
        current = [item for item in items if not self._is_outdated(item)]
        self._publish([letter for item in current if (letter := _letter(item)) is not None])
        outdated = [item for item in items if self._is_outdated(item)]
        self._write(current)
        if outdated:
            self._requeue(outdated, load=False)
        return ()

    def _write(self, items: Sequence[Finished]) -> None:
        state, ports = self.state, self.state.ports
        while True:
            works, batch = self._batch(items)
            if not works:
                return
            epochs = {work.owner.partition: work.owner.epoch for work in works}
            try:
                traceparents = (work.receipt.traceparent for work in works)
                with ports.tracing.batch("commit", traceparents):
                    result = state.retry("commit", ports.results.commit, batch, epochs)
            except LeaseLostError as error:
                log.warning("session.lease_lost", partitions=sorted(error.partitions))
                for partition in error.partitions:
                    self._begin(state.admission.remove_partition(partition))
                    ports.membership.mark_lost(partition)
            except ReleaseChangedError as error:
                log.info("session.release_changed", change=str(error))
                state.scorer = self._load_releases()
                return self._requeue(items, load=False)
            except PhotosGoneError as error:
                log.info("session.photos_deleted", photos=str(error))
                _count_reload(works, error)
                return self._requeue(items, load=True)
            else:
                self._begin(state.admission.finish(works))
                self._conclude(batch, result)
                return

    def _is_outdated(self, item: Finished) -> bool:
        """Whether an ad was scored under other releases than the active ones."""
        return isinstance(item, ScoredWork) and item.releases != self.state.scorer.names

    def _load_releases(self) -> AdScorer:
        try:
            with self.state.beats.paused():
                return self.state.retry("releases", self.state.ports.scorer)
        except Exception as error:
            if not is_of_item(error):
                raise
            what = describe(error)
            raise ConfigurationError(f"the active releases can't be loaded: {what}") from error

    def _conclude(self, batch: Batch, result: CommitResult) -> None:
        """Count and announce a commit; an error can't undo it, and must not end the session."""
        state = self.state
        state.faults.passed("commit")
        for act in (state.count, state.ports.committed):
            try:
                act(batch, result)
            except Exception as error:  # noqa: BLE001 - the outbox still has the announcements
                state.faults.record("after the commit", error)

    def _publish(self, letters: Sequence[DeadLetter]) -> None:
        """Publish dead letters; one that can't be published stays in the table `failures` alone."""

        def send(some: Sequence[DeadLetter]) -> tuple[()]:
            self.state.retry("dead letters", self.state.ports.dead_letters.send, some)
            self.state.faults.passed("dead letters")
            return ()

        def skip(letter: DeadLetter, error: BaseException) -> tuple[()]:
            self.state.faults.failure("dead letters", _place(letter.receipt), error)
            return ()

        if letters:
            divided(letters, send, skip, is_fault=_is_of_letter)

    def _refuse(self, item: Finished, error: BaseException) -> tuple[()]:
        """Commit a dead letter in place of an item that can't be committed."""
        failed: Finished
        if isinstance(item, SettledWork):
            if item.letter is None:
                raise error  # it has no row of its own
            failure = self.state.faults.failure("commit", _place(item.receipt), error)
            failed = replace(item, letter=replace(item.letter, failure=failure))
        else:
            work = item.loaded[0].work if isinstance(item, ScoredWork) else item.work
            failed = FailedWork(work, self.state.faults.failure("commit", work.event.key, error))
        return self._commit([failed])

    def _requeue(self, items: Sequence[Finished], *, load: bool) -> None:
        """Send ads back to the model, or to the photo stage with `load`; requeue the others."""
        for item in items:
            if not isinstance(item, ScoredWork):
                self.state.scored.put(item)
            elif load:
                self._begin(loaded.work for loaded in item.loaded)
            else:
                self.state.loaded.put(*item.loaded)

    def _batch(self, items: Sequence[Finished]) -> tuple[list[Work], Batch]:
        """The items that are not stale, as works and as one batch."""
        is_stale = self.state.admission.is_stale
        ads: list[AdOutcome] = []
        works: list[Work] = []
        letters: list[DeadLetter] = []
        renditions: dict[bytes, Rendition] = {}
        embeddings: dict[tuple[str, bytes], PhotoEmbedding] = {}
        answers: dict[tuple[bytes, str, str], PhotoAnswer] = {}
        has_deferred = False
        for item in items:
            if isinstance(item, ScoredWork):
                photos: set[bytes | None] = set()
                for loaded, ad in zip(item.loaded, item.scored.ads, strict=True):
                    if not is_stale(loaded.work):
                        ads.append(ad)
                        works.append(loaded.work)
                        new = loaded.ad.photos.renditions.values()
                        renditions.update({photo.photo_sha256: photo for photo in new})
                        photos.update(photo.sha256 for photo in ad.photos)
                of_photos = (e for e in item.scored.embeddings if e.sha256 in photos)
                embeddings.update({(e.backbone, e.sha256): e for e in of_photos})
                answered = (it for it in item.scored.photo_answers if it.sha256 in photos)
                answers.update({(it.sha256, it.release, it.answer.task): it for it in answered})
                has_deferred = has_deferred or item.scored.has_deferred
                continue
            work = item.work if isinstance(item, FailedWork) else item
            if not is_stale(work):
                works.append(work)
                letter = _letter(item)
                letters.extend(() if letter is None else (letter,))
        superseded = sum(len(work.superseded) for work in works if isinstance(work, AdWork))
        settled = sum(isinstance(work, SettledWork) and work.letter is None for work in works)
        no_events = sum(isinstance(work, SettledWork) and work.no_event for work in works)
        return works, Batch(
            releases=self.state.scorer.names,
            ads=tuple(ads),
            superseded=superseded + settled - no_events,
            no_events=no_events,
            dead_letters=tuple(letters),
            renditions=tuple(renditions.values()),
            embeddings=tuple(embeddings.values()),
            partitions=frozenset(work.owner.partition for work in works),
            next_offsets=self.state.admission.next_offsets(works),
            photo_answers=tuple(answers.values()),
            has_deferred=has_deferred,
        )


def _ads_of(item: Finished) -> int:
    return len(item.loaded) if isinstance(item, ScoredWork) else 1


def _single(items: Iterable[Finished]) -> Iterator[Finished]:
    """The same items, with one ad each, and the photos of that ad."""
    for item in items:
        if isinstance(item, ScoredWork):
            yield from _single_ads(item)
        else:
            yield item


def _single_ads(item: ScoredWork) -> Iterator[ScoredWork]:
    for loaded, ad in zip(item.loaded, item.scored.ads, strict=True):
        shas = {photo.sha256 for photo in ad.photos}
        embeddings = tuple(e for e in item.scored.embeddings if e.sha256 in shas)
        answers = tuple(it for it in item.scored.photo_answers if it.sha256 in shas)
        scored = Scored((ad,), embeddings, answers, item.scored.has_deferred)
        yield ScoredWork((loaded,), scored, item.releases)


def _is_stored(loaded: LoadedWork) -> bool:
    return loaded.stored.done() and not loaded.stored.cancelled()


def _letter(item: Finished) -> DeadLetter | None:
    if isinstance(item, FailedWork):
        return DeadLetter(item.work.record, item.work.receipt, item.failure)
    return item.letter if isinstance(item, SettledWork) else None


def _place(receipt: Receipt) -> tuple[int, int]:
    return receipt.partition, receipt.offset


def _is_of_letter(error: BaseException) -> bool:
    """Whether publishing failed for the letter: a broker refuses what is larger than it accepts."""
    return is_of_item(error) or isinstance(error, ConfigurationError)


def _count_reload(works: Iterable[Work], error: PhotosGoneError) -> None:
    """Count that these ads are loaded again; raises StoredObjectError if one was too often."""
    ads = [work for work in works if isinstance(work, AdWork)]
    if any(ad.reloads >= MAX_RELOADS for ad in ads):
        raise StoredObjectError(
            f"an ad was loaded {MAX_RELOADS} times, and its photos were not stored: {error}"
        ) from error
    for ad in ads:
        ad.reloads += 1
