"""The queue between two stages of a session.

A consumer takes everything that has queued, and does not wait to fill a batch. The queue has no
limit of its own: admission limits what is in flight (`ops/session/admission.py`), and with it
every queue behind it.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class StageQueue(Generic[T]):
    """A FIFO queue between threads."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    def put(self, *items: T) -> None:
        """Add items; after `close` they are dropped."""
        with self._changed:
            if not self._closed:
                self._items.extend(items)
                self._changed.notify()

    def take(self, max_weight: float, weight: Callable[[T], float] = lambda _: 1.0) -> list[T]:
        """Remove and return queued items; waits while the queue is empty.

        Returns:
            Items up to `max_weight` in all, but at least one; [] once the queue is closed.
        """
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if self._closed:
                return []
            taken = [self._items.popleft()]
            total = weight(taken[0])
            while self._items and total + weight(self._items[0]) <= max_weight:
                total += weight(self._items[0])
                taken.append(self._items.popleft())
            return taken

    def close(self) -> None:
        """Drop the queued items; from now on `take` returns [] at once."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
