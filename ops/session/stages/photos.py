"""The photo stage of a session: loads the photos of each ad in a task of its own.

A slow photo delays only its own ad, and one that raises an error fails alone. Loading is cancelled
for partitions that the session no longer owns. Does not depend on how photos are loaded: the
`PhotoLoading` port does that.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ops.errors import RetryableError, StoredObjectError
from ops.isolation import is_of_item
from ops.scoring.ads import LoadedAd, LoadedPhoto, LoadedPhotos
from ops.session.admission import AdWork
from ops.session.state import FailedWork, LoadedWork, SessionState
from ops.types import Failure, PhotoRef

NAME = "session-photos"
BEAT_EVERY_S = 1.0

Delay = Callable[[RetryableError], float]


class PhotoStage:
    """Loads the photos of the started ads concurrently on an event loop."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = threading.Event()
        self._loading: dict[asyncio.Task[None], AdWork] = {}
        self.came_back = 0  # how often a call has come back, or waited while others did
        self._passed_at = 0.0  # when photos were last loaded, monotonic seconds

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
            self._loaded(work, LoadedPhotos({}))
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
            if photos is not None:
                self._loaded(work, photos)
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
            photos = await self._retry(work, refs)
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
                loaded = await self._retry(work, [ref])
                if loaded is None:
                    return None
                by_ref.update({ref: loaded.by_ref[ref]})
            except BaseException as error:
                if not is_of_item(error):
                    raise
                by_ref[ref] = self.state.faults.failure("photos", work.event.key, error)
        return LoadedPhotos(by_ref, photos_ms=(time.perf_counter() - started) * 1e3)

    async def _retry(self, work: AdWork, refs: Sequence[PhotoRef]) -> LoadedPhotos | None:
        """Load photos, through outages; None once the ad is stale.

        Raises:
            StoredObjectError: for as long as the longest outage these photos were unavailable, and
                others were not.
        """
        state = self.state
        delays, started = state.delays("photos"), time.monotonic()
        try:
            while not state.admission.is_stale(work):
                state.beats.beat(work)
                try:
                    photos = await state.ports.photos.load(
                        refs, state.scorer.backbones, came_back=lambda: self._came_back(work)
                    )
                except RetryableError as error:
                    await asyncio.sleep(self._wait_s(next(delays), error, started))
                else:
                    self._passed_at = time.monotonic()
                    return photos
            return None
        finally:
            state.outages.pop("photos", None)

    def _wait_s(self, delay: Delay, error: RetryableError, started: float) -> float:
        try:
            return delay(error)
        except RetryableError as still:
            if self._passed_at > started:
                raise StoredObjectError(f"only these photos are unavailable: {still}") from still
            raise

    def _loaded(self, work: AdWork, photos: LoadedPhotos) -> None:
        ad = LoadedAd(work.event, work.receipt, photos)
        self.state.loaded.put(LoadedWork(work, ad, time.monotonic()))

    def _fail(self, work: AdWork, error: BaseException) -> None:
        """The ad fails with this error, unless that is no fault of the ad: then it is raised."""
        if not is_of_item(error):
            raise error
        failure = self.state.faults.failure("photos", work.event.key, error)
        self.state.scored.put(FailedWork(work, failure))
