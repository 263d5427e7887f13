"""Calls in threads whose result an event loop waits for."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(act: Callable[P, T]) -> Callable[P, T]:
    """The same function for a thread whose future is awaited.

    asyncio's futures refuse StopIteration, in a callback on the loop, and their awaiters would wait
    without end. It becomes a RuntimeError, as in a generator (PEP 479).
    """

    @wraps(act)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return act(*args, **kwargs)
        except StopIteration as error:
            raise RuntimeError("StopIteration was raised in a thread") from error

    return call
