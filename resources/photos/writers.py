"""Makes renditions durable in threads of their own, beside decoding and the model."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ops.types import Rendition
from resources.photos.threads import in_thread
from resources.storage.photos import PhotoStore

WRITES_AT_ONCE = 16
"""Threads; each waits for the disk or the store most of the time. A disk syncs what several of them
have written at once, and a put to an object store takes tens of milliseconds."""


class RenditionWriters:
    """Threads that store renditions."""

    def __init__(self, store: PhotoStore) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(WRITES_AT_ONCE, thread_name_prefix="rendition")

    async def write(self, renditions: Sequence[Rendition], came_back: Callable[[], None]) -> None:
        """Return once all are durable; what is written already is not written again.

        Args:
            came_back: is called on the event loop after each.

        Raises:
            RetryableError: the store is unavailable or full; the call can be repeated.
            ConfigurationError: access to the store was denied.
        """
        distinct = {rendition.sha256: rendition for rendition in renditions}
        await asyncio.gather(*(self._write(one, came_back) for one in distinct.values()))

    def close(self) -> None:
        """Wait for the running threads."""
        self._threads.shutdown(cancel_futures=True)

    async def _write(self, rendition: Rendition, came_back: Callable[[], None]) -> None:
        put = self._threads.submit(
            in_thread(self._store.put), "renditions", rendition.sha256, rendition.data
        )
        await asyncio.wrap_future(put)
        came_back()
