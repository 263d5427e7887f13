"""The photo stage of a session: loads the photos of each ad in a task of its own.

A slow photo delays only its own ad. Loading is cancelled for partitions that the session no
longer owns. Does not depend on how photos are loaded: the `PhotoLoading` port does that.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable

from ops.errors import RetryableError
from ops.scoring.ads import LoadedAd, LoadedPhotos
from ops.session.admission import AdWork
from ops.session.state import LoadedWork, SessionState


class PhotoStage:
    """Loads the photos of the started ads concurrently on an event loop."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = threading.Event()
        self._loading: dict[asyncio.Task[None], AdWork] = {}

    def run(self) -> None:
        asyncio.run(self._serve())

    def begin(self, works: Iterable[AdWork]) -> None:
        """Load the photos of these ads; ads without photos go to the model at once. Thread-safe."""
        for work in works:
            if not work.event.photos:
                self._loaded(work, LoadedPhotos({}))
                continue
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
        async with self.state.ports.photos:
            self._open.set()
            if not self.state.ended.is_set():
                await self._stop.wait()
            for task in list(self._loading):
                task.cancel()
            await asyncio.gather(*self._loading, return_exceptions=True)

    def _start(self, work: AdWork) -> None:
        assert self._loop is not None
        if self._stop.is_set():
            return
        task = self._loop.create_task(self._load(work))
        self._loading[task] = work
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._loading[task]
        if not task.cancelled() and task.exception() is not None:
            self.state.end(task.exception())

    def _cancel_stale(self) -> None:
        for task, work in list(self._loading.items()):
            if self.state.admission.is_stale(work):
                task.cancel()

    async def _load(self, work: AdWork) -> None:
        state = self.state
        delays = state.delays("photos")
        while not state.admission.is_stale(work):
            try:
                photos = await state.ports.photos.load(work.event.photos, state.scorer.backbones)
            except RetryableError as error:
                await asyncio.sleep(next(delays)(error))
                continue
            state.outages.pop("photos", None)
            self._loaded(work, photos)
            return
        state.outages.pop("photos", None)

    def _loaded(self, work: AdWork, photos: LoadedPhotos) -> None:
        ad = LoadedAd(work.event, work.receipt, photos)
        self.state.loaded.put(LoadedWork(work, ad, time.monotonic()))
