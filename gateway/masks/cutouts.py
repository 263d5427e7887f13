"""Cut-outs on request: made in a thread, and kept in memory while there is room.

Owns how many are made at once, so that 50 requests take no more memory than two.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

AT_ONCE = 2
MAX_BYTES = 64 * 2**20


class CutOuts:
    """The cut-outs of one process by ETag, the most recently used last."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._free = max_bytes
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def get(self, etag: str, make: Callable[[], bytes]) -> bytes:
        """The kept cut-out of this ETag, or the one that `make` returns, in a thread.

        Requests for one that is being made wait for it; a client that goes ends nobody's work.
        """
        if etag in self._kept:
            self._kept.move_to_end(etag)
            return self._kept[etag]
        if etag not in self._making:
            self._making[etag] = asyncio.create_task(self._make(etag, make))
        return await asyncio.shield(self._making[etag])

    async def _make(self, etag: str, make: Callable[[], bytes]) -> bytes:
        try:
            async with self._at_once:
                data = await asyncio.to_thread(make)
        finally:
            del self._making[etag]
        self._keep(etag, data)
        return data

    def _keep(self, etag: str, data: bytes) -> None:
        self._kept[etag] = data
        self._free -= len(data)
        while self._free < 0:
            _, oldest = self._kept.popitem(last=False)
            self._free += len(oldest)
