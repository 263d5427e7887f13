"""Runs decoding in threads, within a budget of memory.

Owns how many photos are decoded at once and how much memory they take in all. Small photos have
threads of their own and never wait behind large ones. Large ones wait on the event loop for their
share of the budget: no thread waits for anything.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ops.errors import BadInputError, Reason
from resources.photos.threads import in_thread

SMALL_BYTES = 40_000_000
"""The memory, by estimate, up to which a photo is small: any JPEG that is not progressive, a
progressive one of 6 million pixels, a PNG of 3, a WebP, AVIF or HEIC of 1."""

LARGE_SOURCE_BYTES = 256_000_000
"""Source bytes of large photos that may wait. Beyond that they count among the photos that are in
memory from fetch to decode, and so delay the fetching of others."""

P = ParamSpec("P")
T = TypeVar("T")


class Budget:
    """A semaphore whose holders take different amounts, in the order of their calls.

    Bound to one event loop.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, amount: int) -> None:
        """Wait until this amount is free, and take it. The whole is enough for any amount."""
        amount = min(amount, self.total)
        if not self._waiting and self._free >= amount:
            self._free -= amount
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release(amount)
            else:
                self._grant()
            raise

    def release(self, amount: int) -> None:
        """Return the amount of an earlier `acquire`."""
        self._free += min(amount, self.total)
        self._grant()

    def _grant(self) -> None:
        while self._waiting:
            amount, granted = self._waiting[0]
            if not granted.cancelled():
                if amount > self._free:
                    return
                self._free -= amount
                granted.set_result(None)
            self._waiting.popleft()


class Decoders:
    """Threads for small and for large photos; bound to one event loop.

    Args:
        threads: for small photos; large ones have a third as many, at least one.
        memory_bytes: what the large photos that are decoded may take at once.
    """

    def __init__(self, *, threads: int, memory_bytes: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._small = ThreadPoolExecutor(threads, thread_name_prefix="photo")
        self._large = ThreadPoolExecutor(max(1, threads // 3), thread_name_prefix="large-photo")
        self._memory = Budget(memory_bytes)

    def close(self) -> None:
        """Wait for the running threads."""
        self._small.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    def is_large(self, n_bytes: int) -> bool:
        """Whether decoding in `n_bytes` of memory waits for its share of the budget.

        Raises:
            BadInputError: PHOTO_TOO_LARGE, the whole budget is not enough.
        """
        if n_bytes > max(self._memory.total, SMALL_BYTES):
            raise BadInputError(
                Reason.PHOTO_TOO_LARGE,
                f"decoding takes {n_bytes / 1e6:.0f} MB of memory, expected at most "
                f"{self._memory.total / 1e6:.0f} MB",
            )
        return n_bytes > SMALL_BYTES

    async def small(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `act` in a thread for small photos."""
        return await asyncio.wrap_future(self._small.submit(in_thread(act), *args, **kwargs))

    async def large(
        self, n_bytes: int, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `act` in a thread for large photos, once `n_bytes` of the budget are free.

        The share is returned when the thread has finished, even if this call is cancelled before.
        """
        await self._memory.acquire(n_bytes)
        try:
            running = self._large.submit(in_thread(act), *args, **kwargs)
        except BaseException:
            self._memory.release(n_bytes)
            raise
        running.add_done_callback(lambda done: self._release(done, n_bytes))
        return await asyncio.wrap_future(running)

    def _release(self, _: Future[T], n_bytes: int) -> None:
        self._loop.call_soon_threadsafe(self._memory.release, n_bytes)
