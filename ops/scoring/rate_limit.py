"""A rate limiter: a maximum of items a second, shared by threads, without bursts.

Owns the time at which the next chunk may start. Does not depend on what the items are; the clock
and the sleep function can be passed in.
"""

import threading
import time
from collections.abc import Callable

from ops.errors import ConfigurationError


class RateLimiter:
    """A limit of items a second that any number of threads share."""

    def __init__(
        self,
        items_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Args:
        items_per_s: 0: no limit.
        """
        if items_per_s < 0:
            raise ConfigurationError(
                f"The rate limit is {items_per_s} items a second; expected 0 (no limit) or more."
            )
        self.items_per_s = items_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def chunk_size(self, max_items: int) -> int:
        """The number of items to process at once: `max_items`, or one second's worth if less."""
        return max_items if self.items_per_s == 0 else max(1, min(max_items, int(self.items_per_s)))

    def wait(self, items: int) -> None:
        """Wait until these items may start; the next call waits until their time has passed."""
        if self.items_per_s == 0:
            return
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + items / self.items_per_s
        if start > now:
            self._sleep(start - now)
