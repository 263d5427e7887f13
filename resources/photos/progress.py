"""Shows a watchdog which calls wait for their turn, and which are at work and do not come back.

An ad's photos may wait long behind other large ones, or behind hosts that do not answer. As long as
some photo is done now and then, that is no hang. A call with a photo in a thread comes back only
when one of its own is done.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

_EVERY_S = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Call:
    """One ad's photos that are being loaded."""

    def __init__(self, came_back: Callable[[], None]) -> None:
        self.came_back = came_back
        self._lock = threading.Lock()
        self._running = 0

    @property
    def waits(self) -> bool:
        """Whether none of its photos is in a thread."""
        return self._running == 0

    def run(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `act` in this thread, which counts as at work meanwhile."""
        with self._lock:
            self._running += 1
        try:
            return act(*args, **kwargs)
        finally:
            with self._lock:
                self._running -= 1


class Progress:
    """The calls in process; bound to one event loop, except `Call.run`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: set[Call] = set()
        self._shared_at = clock()

    @contextmanager
    def call(self, came_back: Callable[[], None]) -> Iterator[Call]:
        """One call.

        Args:
            came_back: is called when the call has come back, or waits while others do.
        """
        call = Call(came_back)
        self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    def done(self, call: Call) -> None:
        """A photo of this call is done."""
        call.came_back()
        if self._clock() - self._shared_at < _EVERY_S:
            return
        self._shared_at = self._clock()
        for other in self._calls:
            if other is not call and other.waits:
                other.came_back()
