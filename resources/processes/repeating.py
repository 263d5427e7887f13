"""A thread that repeats a step for as long as a block lasts."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class RepeatingThread(ABC):
    """A daemon thread that calls `step` every few seconds; use it in a `with`.

    Leaving the block ends it, after the step that is under way.

    Args:
        name: of the thread.
        every_s: seconds between two steps, and before the first.
        join_s: the most seconds to wait for the step under way; None: without limit.
    """

    def __init__(self, name: str, *, every_s: float, join_s: float | None = None) -> None:
        self.every_s = every_s
        self._join_s = join_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(self._join_s)

    @abstractmethod
    def step(self) -> bool:
        """Do the step once; True if it is the last. It must not raise: the thread would end."""

    def run(self) -> None:
        """Repeat the step until it is the last, or the block ends."""
        while not self._done.wait(self.every_s):
            if self.step():
                return
