"""The photo stage of a session: loads and stores the photos of each ad in a task of its own.

An ad goes to the model as soon as its photos are loaded. Its new renditions are made durable
beside the model, and the commit waits for them (`LoadedWork.stored`).

A slow photo delays only its own ad, and one that raises an error fails alone. Loading is cancelled
for partitions that the session no longer owns. Does not depend on how photos are loaded and
stored: the `PhotoLoading` port does that.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ops.errors import RetryableError, StoredObjectError
from ops.isolation import is_of_item
from ops.scoring.ads import LoadedAd, LoadedPhoto, LoadedPhotos
from ops.session.admission import AdWork
from ops.session.state import FailedWork, LoadedWork, SessionState
from ops.types import Failure, PhotoRef, Rendition

NAME = "session-photos"
BEAT_EVERY_S = 1.0

T = TypeVar("T")
Delay = Callable[[RetryableError], float]


class PhotoStage:
    """Loads and stores the photos of the started ads concurrently on an event loop."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = threading.Event()
        self._loading: dict[asyncio.Task[None], AdWork] = {}
        self.came_back = 0  # how often a call has come back, or waited while others did
        self._passed_at: dict[str, float] = {}  # when each operation last succeeded, monotonic s

    def run(self) -> None:
        asyncio.run(self._serve())

    def begin(self, works: Iterable[AdWork]) -> None:
        """Load the photos of these ads; ads without photos go to the model at once. Thread-safe."""
        for work in works:
            try:
                self._begin(work)
            except BaseException as error:  # noqa: BLE001 - `_fail` raises what is not the ad's
                self._fail(work, error)

    def _begin(self, work: AdWork) -> None:
        if not work.event.photos:
            self._pass_on(work, LoadedPhotos({}))
            return
        self._open.wait()
        self._call(self._start, work)

    def drop_stale(self) -> None:
        """Stop loading for partitions that the session no longer owns. Thread-safe."""
        self._call(self._cancel_stale)

    def stop(self) -> None:
        """Wake the loop, so that it sees the end of the session. Thread-safe."""
        self._open.set()
        if self._loop is not None:
            self._call(self._stop.set)

    def _call(self, act: Callable[..., object], *args: object) -> None:
        """Call on the loop; does nothing where the loop has ended or was never started."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: the session has ended
                self._loop.call_soon_threadsafe(act, *args)

    def __len__(self) -> int:
        return len(self._loading)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(self._crashed)
        self._beat()
        async with self.state.ports.photos:
            self._open.set()
            if not self.state.ended.is_set():
                await self._stop.wait()
            for task in list(self._loading):
                task.cancel()
            await asyncio.gather(*self._loading, return_exceptions=True)

    def _beat(self) -> None:
        """Beat until the stage is to stop, so that a blocked loop is noticed."""
        assert self._loop is not None
        if self._stop.is_set():
            self.state.beats.rest(NAME)
            return
        self.state.beats.beat(NAME)
        self._loop.call_later(BEAT_EVERY_S, self._beat)

    def _came_back(self, work: AdWork) -> None:
        self.came_back += 1
        self.state.beats.beat_again(work)

    def _crashed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End the session if a callback on the loop raised: some ad may wait for it without end."""
        error = context.get("exception")
        if error is not None and context.get("handle") is not None:
            self.state.end(error)
        else:
            loop.default_exception_handler(context)

    def _start(self, work: AdWork) -> None:
        assert self._loop is not None
        if self._stop.is_set():
            return
        self.state.beats.beat(work)
        task = self._loop.create_task(self._load(work))
        self._loading[task] = work
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.state.beats.rest(self._loading.pop(task))
        if not task.cancelled() and task.exception() is not None:
            self.state.end(task.exception())

    def _cancel_stale(self) -> None:
        for task, work in list(self._loading.items()):
            if self.state.admission.is_stale(work):
                task.cancel()

    async def _load(self, work: AdWork) -> None:
        try:
            photos = await self._load_in_span(work)
            while photos is not None:
                photos = await self._store(work, photos)
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(work, error)

    async def _load_in_span(self, work: AdWork) -> LoadedPhotos | None:
        traceparent = work.receipt.traceparent
        if traceparent == "":
            return await self._load_all(work)
        with self.state.ports.tracing.ad("photos", traceparent):
            return await self._load_all(work)

    async def _load_all(self, work: AdWork) -> LoadedPhotos | None:
        """The ad's photos; after an error photo by photo. None: the ad has become stale."""
        refs = work.event.photos
        try:
            photos = await self._load_some(work, refs)
        except BaseException as error:
            if not is_of_item(error):
                raise
        else:
            self.state.faults.passed("photos")
            return photos
        by_ref: dict[PhotoRef, LoadedPhoto | Failure] = {}
        started = time.perf_counter()
        for ref in dict.fromkeys(refs):
            try:
                loaded = await self._load_some(work, [ref])
                if loaded is None:
                    return None
                by_ref.update({ref: loaded.by_ref[ref]})
            except BaseException as error:
                if not is_of_item(error):
                    raise
                by_ref[ref] = self.state.faults.failure("photos", work.event.key, error)
        return LoadedPhotos(by_ref, photos_ms=(time.perf_counter() - started) * 1e3)

    async def _load_some(self, work: AdWork, refs: Sequence[PhotoRef]) -> LoadedPhotos | None:
        state = self.state
        return await self._retry(
            work,
            "photos",
            lambda: state.ports.photos.load(
                refs,
                state.scorer.views,
                answered_by=state.scorer.answered_by,
                came_back=partial(self._came_back, work),
            ),
        )

    def _pass_on(self, work: AdWork, photos: LoadedPhotos) -> "Future[None]":
        """Send an ad to the model; the commit waits until the future is done."""
        stored: Future[None] = Future()
        if not photos.renditions:
            stored.set_result(None)
        ad = LoadedAd(work.event, work.receipt, photos)
        self.state.loaded.put(LoadedWork(work, ad, time.monotonic(), stored))
        return stored

    async def _store(self, work: AdWork, photos: LoadedPhotos) -> LoadedPhotos | None:
        """Send an ad to the model, and store its new renditions meanwhile.

        Returns:
            The photos to go on with, if some could not be stored: they are failures now. None: the
            ad is stored, or stale.
        """
        stored = self._pass_on(work, photos)
        if stored.done():
            return None
        try:
            failures = await self._store_all(work, photos.renditions)
        except BaseException:
            stored.cancel()
            raise
        if failures == {}:
            stored.set_result(None)
            return None
        stored.cancel()
        return None if failures is None else replace(photos, by_ref={**photos.by_ref, **failures})

    async def _store_all(
        self, work: AdWork, renditions: Mapping[PhotoRef, Rendition]
    ) -> dict[PhotoRef, Failure] | None:
        """What can't be stored; after an error photo by photo. None: the ad has become stale."""
        try:
            done = await self._store_some(work, list(renditions.values()))
        except BaseException as error:
            if not is_of_item(error):
                raise
        else:
            self.state.faults.passed("store")
            return {} if done else None
        failures: dict[PhotoRef, Failure] = {}
        for ref, rendition in renditions.items():
            try:
                if not await self._store_some(work, [rendition]):
                    return None
            except BaseException as error:
                if not is_of_item(error):
                    raise
                failures[ref] = self.state.faults.failure("store", work.event.key, error)
        return failures

    async def _store_some(self, work: AdWork, renditions: Sequence[Rendition]) -> bool:
        """Whether they are stored; False once the ad is stale."""

        async def store() -> bool:
            came_back = partial(self._came_back, work)
            await self.state.ports.photos.store_renditions(renditions, came_back=came_back)
            return True

        return await self._retry(work, "store", store) is not None

    async def _retry(self, work: AdWork, what: str, act: Callable[[], Awaitable[T]]) -> T | None:
        """Call `act` for photos of an ad, through outages; None once the ad is stale.

        Args:
            what: the operation, as logged and shown in the snapshot.

        Raises:
            StoredObjectError: for as long as the longest outage these photos were unavailable, and
                others were not.
        """
        state = self.state
        delays, started = state.delays(what), time.monotonic()
        try:
            while not state.admission.is_stale(work):
                state.beats.beat(work)
                try:
                    result = await act()
                except RetryableError as error:
                    wait_s = self._wait_s(what, next(delays), error, started)
                    await asyncio.sleep(wait_s)
                else:
                    self._passed_at[what] = time.monotonic()
                    return result
            return None
        finally:
            state.outages.pop(what, None)

    def _wait_s(self, what: str, delay: Delay, error: RetryableError, started: float) -> float:
        try:
            return delay(error)
        except RetryableError as still:
            if self._passed_at.get(what, 0.0) > started:
                raise StoredObjectError(f"only these photos are unavailable: {still}") from still
            raise

    def _fail(self, work: AdWork, error: BaseException) -> None:
        """The ad fails with this error, unless that is no fault of the ad: then it is raised."""
        if not is_of_item(error):
            raise error
        failure = self.state.faults.failure("photos", work.event.key, error)
        self.state.scored.put(FailedWork(work, failure))
