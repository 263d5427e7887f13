"""Renditions are made durable beside the model, and the commit waits for those that it names."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ops.errors import Reason, RetryableError
from ops.outcomes import Batch, CommitResult
from ops.types import AdKey
from tests.support.batches import sha
from tests.support.session_world import QUICK, Working, World


@pytest.fixture
def world() -> World:
    return World()


def storing(url: str) -> str:
    """The operation that stores a photo's rendition, for `World.hold`."""
    return f"store {sha(url).hex()}"


def failures(world: World, ad_id: str) -> list[Reason | None]:
    photos = world.ads[AdKey("kg", ad_id)].photos
    return [None if photo.failure is None else photo.failure.reason for photo in photos]


def test_the_model_does_not_wait_for_the_store(world: World) -> None:
    """An ad is embedded while its rendition is stored, and committed afterwards."""
    world.hold(storing("dark-1"))
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: "embed" in world.calls)
        world.until(lambda: "store" in world.calls)
        assert world.commits == []
        world.free(storing("dark-1"))
        world.until(lambda: world.committed("1"))
    assert world.loads == {"dark-1": 1}
    assert world.calls.count("embed") == 1


def test_an_ad_that_is_not_stored_delays_no_other(world: World) -> None:
    """Not even one that was scored with it; the offset waits."""
    world.hold("embed")
    world.hold(storing("dark-2"))
    world.membership.grant(0)
    with Working(world) as working:
        for n in range(5):
            world.publish(str(n), f"dark-{n}", "bright-1")
        world.until(lambda: len(world.durable) == 5)
        world.free("embed")
        world.until(lambda: world.committed("0", "1", "3", "4"))
        assert world.offsets == {0: 2}
        assert not world.committed("2")
        world.free(storing("dark-2"))
        world.until(lambda: world.offsets == {0: 5})
    assert set(world.written.values()) == {1}
    assert working.total.unaccounted == 0


def test_a_rendition_that_cannot_be_stored_fails_alone(world: World) -> None:
    """Its ad is scored by the other photos, and the rest of the batch is not touched."""
    world.hold("embed")
    world.publish("1", "dark-1", "dark-2")
    world.fail("store", *[ValueError("refused")] * 2)  # together, then the first alone
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.failures["store"] == [])
        world.publish("2", "bright-1")
        world.until(lambda: len(world.durable) == 2)
        world.free("embed")
        world.until(lambda: world.committed("1", "2"))
    assert failures(world, "1") == [Reason.INTERNAL_ERROR, None]
    assert failures(world, "2") == [None]
    assert working.total.unaccounted == 0
    assert world.letters == []


class OneLost(World):
    """A store that is unavailable for one photo only."""

    lost = sha("dark-1")

    def stored(self, sha256: bytes) -> None:
        if sha256 == self.lost:
            raise RetryableError("this disk is broken")


def test_one_photo_that_stays_unstored_does_not_end_the_session() -> None:
    """While others are stored, it becomes a failure after the longest outage."""
    world = OneLost()
    world.publish("1", "dark-1", "dark-2")
    world.membership.grant(0)
    with Working(world, replace(QUICK, outage_s=0.2)) as working:
        number = 1
        while not world.committed("1"):
            number += 1
            world.publish(str(number), f"bright-{number}")
            world.until(lambda number=number: world.committed(str(number)))
        assert working.error is None
    assert failures(world, "1") == [Reason.INTERNAL_ERROR, None]
    assert working.total.unaccounted == 0


def test_a_lost_partition_drops_what_is_being_stored(world: World) -> None:
    """Nothing of it is committed, and the other partitions go on."""
    world.hold(storing("dark-1"))
    world.publish("1", "dark-1", partition=0)
    world.publish("2", "dark-2", partition=1)
    world.membership.grant(0, 1)
    with Working(world) as working:
        world.until(lambda: world.committed("2"))
        world.membership.steal(0)
        world.membership.notify_lost(0)
        world.until(lambda: 0 not in working.session.snapshot().partitions)
        world.free(storing("dark-1"))
        world.publish("3", "dark-3", partition=1)
        world.until(lambda: world.committed("3"))
    assert not world.committed("1")


class Changing(World):
    """The live release is replaced while an ad is being stored."""

    def commit(self, batch: Batch, epochs: Mapping[int, int]) -> CommitResult:
        if not self.fenced and self.releases[0].name == "r1":
            self.releases = (self.release("r2", "b2"),)
        return super().commit(batch, epochs)


def test_a_release_that_changes_meanwhile(world: World) -> None:
    """The ad is loaded for the other backbone; both renditions were stored before the commit."""
    world = Changing()
    world.hold(storing("dark-1"))
    world.publish("1", "dark-1")
    world.publish("2", "dark-2")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed("2"))
        world.free(storing("dark-1"))
        world.until(lambda: world.committed("1"))
    assert {names for ad in world.ads.values() for names in ad.predictions} == {"r2"}
    assert set(world.written.values()) == {1}
    assert working.total.unaccounted == 0
