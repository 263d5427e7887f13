"""A pace: so many items a second on average, whoever takes them."""

import pytest

from ops.errors import ConfigurationError
from ops.scoring.rate_limit import Pace


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_no_faster_than_the_limit():
    """The first piece goes at once, each other when those before it are paid for."""
    clock = Clock()
    pace = Pace(50, clock=lambda: clock.now, sleep=clock.sleep)
    began = []
    for items in (50, 25, 100, 1):
        pace.wait(items)
        began.append(clock.now - 100)
    assert began == [0, 1, 1.5, 3.5]


def test_time_that_was_not_used_is_lost():
    """After a pause there is no burst."""
    clock = Clock()
    pace = Pace(10, clock=lambda: clock.now, sleep=clock.sleep)
    pace.wait(10)
    clock.now += 60
    pace.wait(10)
    before = clock.now
    pace.wait(10)
    assert clock.now - before == 1


def test_pieces():
    """A second's worth at most, one at least; without a limit all that is asked for."""
    assert Pace(0).piece(4_000) == 4_000
    assert Pace(100).piece(4_000) == 100
    assert Pace(0.5).piece(4_000) == 1
    Pace(0, sleep=lambda _: pytest.fail("waited")).wait(10**9)
    with pytest.raises(ConfigurationError):
        Pace(-1)
