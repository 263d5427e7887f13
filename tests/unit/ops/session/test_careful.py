"""Careful reading: one record at a time where sessions died; what they die of is stepped over."""

import time
from dataclasses import replace

import pytest

from ops.errors import Reason
from ops.session.careful import DEATHS
from tests.support.session_world import QUICK, Working, World


@pytest.fixture
def world() -> World:
    """Two sessions died at the first offset of partition 0."""
    world = World()
    world.membership.grant(0)
    for _ in range(DEATHS):
        world.quarantine.died()
    world.renew()
    return world


def test_a_record_is_alone_in_process_and_its_attempt_is_stored_first(world: World) -> None:
    """No other record of the session, of any partition, is beside it."""
    for n in range(4):
        world.publish(str(n), f"dark-{n}")
        world.publish(f"other-{n}", f"bright-{n}", partition=1)
    world.hold("attempt")
    world.membership.grant(0, 1)
    with Working(world) as working:
        for n in range(4):
            world.until(lambda n=n: world.calls.count("attempt") == n + 1)
            assert working.session.snapshot().events_in_flight == 0
            assert world.loads[f"dark-{n}"] == 0
            world.hold(f"photo dark-{n}")
            world.free("attempt")
            world.until(lambda n=n: world.loads[f"dark-{n}"] == 1)
            assert working.session.snapshot().events_in_flight == 1
            assert world.quarantine.attempts[0][0] == n
            world.publish(f"late-{n}", "bright-9", partition=1)
            time.sleep(3 * QUICK.poll_timeout_s)
            assert working.session.snapshot().events_in_flight == 1, "another was admitted"
            world.hold("attempt")
            world.free(f"photo dark-{n}")
        world.free("attempt")
        world.until(lambda: world.offsets == {0: 4, 1: 8})
    assert set(world.written.values()) == {1} and len(world.ads) == 12


def test_a_record_that_two_sessions_died_of_alone_is_not_even_parsed(world: World) -> None:
    """It is a dead letter with its bytes; the records after it are scored."""
    world.publish("0", "dark-0")
    world.publish("deadly", "dark-1")
    world.publish("2", "dark-2")
    world.offsets[0] = 1
    for _ in range(DEATHS):
        world.membership.grant(0)
        owner = world.membership.owned[0]
        world.quarantine.attempts[0] = (1, owner, world.quarantine.attempts.get(0, (1, 0, 0))[2])
        world.quarantine.died()
        world.renew()
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 3})
    (letter,) = world.letters
    assert letter.failure.reason is Reason.QUARANTINED
    assert letter.record.value is not None and b"deadly" in letter.record.value
    assert set(world.labels()) == {"2"}
    assert world.loads["dark-1"] == 0
    assert (working.total.admitted, working.total.unaccounted) == (2, 0)


def test_careful_reading_ends_with_the_records_that_may_have_been_in_process(
    world: World,
) -> None:
    """From then on records are read many at a time, without attempts."""
    for n in range(12):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world, replace(QUICK, careful_records=5, max_records=2)):
        world.until(lambda: world.offsets == {0: 12})
    assert 4 <= world.calls.count("attempt") <= 5
    assert set(world.written.values()) == {1}
