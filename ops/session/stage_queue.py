"""The queue between two stages: a taker gets what has queued, and never waits for more.

Decides nothing about size: what is in a session at once is bounded where it comes in
(`ops/session/admission.py`), so every queue behind it is too.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Handoff(Generic[T]):
    """First in, first out, between threads."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, *items: T) -> None:
        """Queue items; after `close` they are dropped."""
        with self._changed:
            if not self._closed:
                self._items.extend(items)
                self._changed.notify()

    def take(self, most: float, weight: Callable[[T], float] = lambda _: 1.0) -> list[T]:
        """What has queued, up to a weight but at least one item; [] once closed.

        Waits only while there is nothing at all.
        """
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            taken = [self._items.popleft()]
            heavy = weight(taken[0])
            while self._items and heavy + weight(self._items[0]) <= most:
                heavy += weight(self._items[0])
                taken.append(self._items.popleft())
            return taken

    def close(self) -> None:
        """Wake the taker for good; what has queued is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
