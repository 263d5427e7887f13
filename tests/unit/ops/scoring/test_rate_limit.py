"""The rate limiter: a maximum of items a second on average, for all threads together."""

import pytest

from ops.errors import ConfigurationError
from ops.scoring.rate_limit import RateLimiter


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_faster_than_the_limit():
    """The first chunk starts at once, each other when the time of those before it has passed."""
    clock = Clock()
    limiter = RateLimiter(50, clock=lambda: clock.now, sleep=clock.sleep)
    started = []
    for items in (50, 25, 100, 1):
        limiter.wait(items)
        started.append(clock.now - 100)
    assert started == [0, 1, 1.5, 3.5]


def test_unused_time_is_lost():
    """After a pause there is no burst."""
    clock = Clock()
    limiter = RateLimiter(10, clock=lambda: clock.now, sleep=clock.sleep)
    limiter.wait(10)
    clock.now += 60
    limiter.wait(10)
    before = clock.now
    limiter.wait(10)
    assert clock.now - before == 1


def test_chunk_size():
    """One second's worth at most, one item at least; without a limit the maximum."""
    assert RateLimiter(0).chunk_size(4_000) == 4_000
    assert RateLimiter(100).chunk_size(4_000) == 100
    assert RateLimiter(0.5).chunk_size(4_000) == 1
    RateLimiter(0, sleep=lambda _: pytest.fail("waited")).wait(10**9)
    with pytest.raises(ConfigurationError):
        RateLimiter(-1)
