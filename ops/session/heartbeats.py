"""Shows whether the stages of a session come back from their work.

A stage beats whenever it takes work or retries, and rests while it waits for work. A watchdog
compares two readings: what is in both with the same number has not come back in between
(`resources/sessions/watchdog.py`). There is no clock here, so a process that was frozen, with its
watchdog, does not look as if it hung.
"""

import itertools
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Heartbeats:
    """The last beat of everything that is at work. Thread-safe; a beat is one write to a dict."""

    def __init__(self) -> None:
        self._beats: dict[Hashable, int] = {}
        self._numbers = itertools.count(1)
        self._paused = 0

    def beat(self, who: Hashable) -> None:
        """`who` is at work, and has just come back."""
        self._beats[who] = next(self._numbers)

    def beat_again(self, who: Hashable) -> None:
        """The same, for one that may rest: then it goes on resting."""
        if who in self._beats:
            self.beat(who)

    def rest(self, who: Hashable) -> None:
        """`who` waits for work, or has ended."""
        self._beats.pop(who, None)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is at work for a watchdog meanwhile: loading a model may take any time."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1
            for who in list(self._beats):
                self.beat_again(who)

    def read(self) -> dict[Hashable, int]:
        """The number of the last beat of everything that is at work."""
        return {} if self._paused else dict(self._beats)
