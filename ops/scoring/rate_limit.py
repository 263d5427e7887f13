"""How fast something may go: so many items a second on average, never more at once than asked for.

Decides when the next piece may begin; refuses to know what the items are, and takes its clock and
its way of waiting from outside.
"""

import threading
import time
from collections.abc import Callable

from ops.errors import ConfigurationError


class Pace:
    """A limit that any number of threads share."""

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
            raise ConfigurationError(f"{items_per_s} items a second: want 0 (no limit) or more")
        self.items_per_s = items_per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    def piece(self, most: int) -> int:
        """How many items to take at once: `most`, or a second's worth where that is less."""
        return most if self.items_per_s == 0 else max(1, min(most, int(self.items_per_s)))

    def wait(self, items: int) -> None:
        """Wait until these items may go; those after them wait until these are paid for."""
        if self.items_per_s == 0:
            return
        with self._lock:
            now = self._clock()
            begin = max(now, self._free_at)
            self._free_at = begin + items / self.items_per_s
        if begin > now:
            self._sleep(begin - now)
