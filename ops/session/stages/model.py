"""The model stage: embeds and predicts the queued ads, up to a batch of photos at a time.

If a batch raises, it is halved until the ad at fault is alone, and then its photos are scored one
by one. A photo at fault fails by itself, and its ad is scored by the others. A task that raises
fails by itself too (`ops/scoring/predictions.py`).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ops.isolation import divided, is_of_item
from ops.scoring.ads import LoadedAd, LoadedPhoto
from ops.session.admission import AdWork
from ops.session.state import FailedWork, LoadedWork, ScoredWork, SessionState
from ops.types import AdStatus, Failure, PhotoRef

NAME = "session-model"

Begin = Callable[[Iterable[AdWork]], None]


class ModelStage:
    """Embeds and predicts the queued ads, up to a batch at a time."""

    def __init__(self, state: SessionState, begin: Begin) -> None:
        self.state = state
        self._begin = begin

    def run(self) -> None:
        state = self.state
        while taken := self._take():
            state.scored.put(*divided(taken, self._score, self._find_fault))

    def _take(self) -> list[LoadedWork]:
        """The next ads without the stale ones; [] once the session has ended."""
        state = self.state
        taken: list[LoadedWork] = []
        while not taken:
            state.beats.rest(NAME)
            queued = state.loaded.take(state.policy.batch_photos, lambda item: item.work.weight)
            state.beats.beat(NAME)
            if not queued:
                break
            taken = [item for item in queued if not self._is_dropped(item)]
        return taken

    def _is_dropped(self, item: LoadedWork) -> bool:
        """Whether an ad is stale, or its photos have been loaded anew."""
        return item.stored.cancelled() or self.state.admission.is_stale(item.work)

    def _score(self, items: Sequence[LoadedWork]) -> list[ScoredWork | FailedWork]:
        scorer, now = self.state.scorer, time.monotonic()
        self.state.beats.beat(NAME)
        fit = tuple(item for item in items if item.ad.ready_for(scorer.views))
        # A release with other views became active while they waited: load them again.
        unfit = [item.work for item in items if item not in fit] if len(fit) < len(items) else []
        scored: list[ScoredWork | FailedWork] = []
        if fit:
            loaded = [item.ad.queued((now - item.since) * 1e3) for item in fit]
            traceparents = (ad.receipt.traceparent for ad in loaded)
            with self.state.ports.tracing.batch("model", traceparents):
                ads = scorer.score(loaded, self._task_failed)
            scored.append(ScoredWork(fit, ads, scorer.names))
            if any(ad.status is AdStatus.SCORED for ad in ads.ads):
                self.state.faults.passed("model")
        self._begin(unfit)
        return scored

    def _task_failed(self, task: str, error: BaseException) -> None:
        self.state.faults.record(f"task {task}", error)

    def _find_fault(self, item: LoadedWork, error: BaseException) -> list[ScoredWork | FailedWork]:
        """The ad without the photos that raise an error alone; if it still raises, it fails."""
        photos = item.ad.photos
        failures = {
            ref: failure
            for ref, photo in photos.by_ref.items()
            if isinstance(photo, LoadedPhoto)
            and (failure := self._fault_of_photo(item.ad, ref)) is not None
        }
        if failures:
            rest = replace(photos, by_ref={**photos.by_ref, **failures})
            try:
                return self._score([replace(item, ad=replace(item.ad, photos=rest))])
            except BaseException as still:
                if not is_of_item(still):
                    raise
                error = still
        failure = self.state.faults.failure("model", item.work.event.key, error)
        return [FailedWork(item.work, failure)]

    def _fault_of_photo(self, ad: LoadedAd, ref: PhotoRef) -> Failure | None:
        """The failure of one photo of an ad, if it raises an error alone."""
        alone = replace(ad.photos, by_ref={ref: ad.photos.by_ref[ref]})
        try:
            self.state.beats.beat(NAME)
            self.state.scorer.score(
                [replace(ad, event=replace(ad.event, photos=(ref,)), photos=alone)]
            )
        except BaseException as error:
            if not is_of_item(error):
                raise
            return self.state.faults.failure("model", ad.event.key, error)
        return None
