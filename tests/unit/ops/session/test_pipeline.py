"""The session with its real threads: what comes in goes out once, through any trouble."""

import threading
import time
from dataclasses import replace

import pytest

from ops.errors import RetryableError
from ops.session.tally import Tally
from ops.types import AdKey
from tests.support.session_world import QUICK, Working, World

BLOCKED_FOR_LONG = replace(QUICK, grace_s=600.0)


@pytest.fixture
def world() -> World:
    return World()


def merged(reports: list[Tally]) -> Tally:
    total = Tally()
    for report in reports:
        total.merge(report)
    return total


def test_everything_that_was_polled_is_committed_once(world: World) -> None:
    """In = written + unchanged + dead letters, on every partition, and the offsets say so."""
    for n in range(120):
        partition = n % 3
        if n % 40 == 39:
            world.publish_bytes(b"nonsense", partition)
        else:
            world.publish(f"{n % 60}", f"dark-{n % 7}", revision=1 + n // 60, partition=partition)
    world.membership.grant(0, 1, 2)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 40, 1: 40, 2: 40})
    total = working.total
    assert (total.events, total.unaccounted) == (120, 0)
    assert sum(total.dead_letters.values()) == len(world.letters) == 3
    sent = {str(n % 60): 1 + n // 60 for n in range(120) if n % 40 != 39}
    assert {key.ad_id: ad.event.revision for key, ad in world.ads.items()} == sent
    places = [(p.partition, p.offset) for batch in world.commits for p in batch.places]
    assert len(places) == len(set(places)), "an event was committed twice"
    assert total.written == sum(world.written.values())
    assert merged(world.reports) == total, "reports leave nothing out and tell nothing twice"


def test_dead_letters_are_safe_before_the_commit_that_steps_over_them(world: World) -> None:
    """A crash in between doubles a letter; it never loses one."""
    world.publish_bytes(b"nonsense")
    world.hold("dead letters")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: "dead letters" in world.happened)
        world.publish("1", "dark-1")
        world.until(lambda: "embed" in world.happened)
        assert world.commits == []
        world.free("dead letters")
        world.until(lambda: world.offsets == {0: 2})
    assert [letter.record.value for letter in world.letters] == [b"nonsense"]
    assert world.happened.index("dead letters") < world.happened.index("commit")


@pytest.mark.parametrize(
    "act", ["assign", "poll", "revisions", "photos", "dead letters", "commit", "give up"]
)
def test_an_outage_is_waited_out(world: World, act: str) -> None:
    """Whatever is away comes back, and nothing is lost or doubled."""
    for n in range(20):
        world.publish(str(n), f"dark-{n}")
        world.publish_bytes(b"nonsense")
    world.fail(act, *[RetryableError("away")] * 6)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 40})
        assert working.error is None
    assert world.trouble[act] == [], "it was never met"
    assert set(world.written.values()) == {1} and len(world.ads) == 20
    assert len({letter.receipt.offset for letter in world.letters}) == 20
    assert working.total.unaccounted == 0
    assert world.membership.given_up == [0]


def test_what_is_away_can_be_seen(world: World) -> None:
    """An outage is named, with its age, while it lasts; and no longer."""
    world.publish("1", "dark-1")
    world.fail("commit", *[RetryableError("away")] * 3)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.happened.count("commit") == 2)
        assert working.session.snapshot().waiting_for_s["commit"] > 0
        world.until(lambda: world.committed("1"))
        world.until(lambda: "committed" in world.happened)
        assert working.session.snapshot().waiting_for_s == {}


@pytest.mark.parametrize("act", ["poll", "revisions", "photos", "dead letters", "commit"])
def test_an_outage_that_does_not_end_ends_the_session(world: World, act: str) -> None:
    """The run fails in the outage's own words; the next one goes on from the last commit."""
    world.publish_bytes(b"nonsense")
    world.publish("1", "dark-1")
    world.fail(act, *[RetryableError("gone for good")] * 100_000)
    world.membership.grant(0)
    with Working(world, replace(QUICK, outage_s=0.1)) as working:
        working.until_ended()
    assert isinstance(working.error, RetryableError)
    assert str(working.error) == "gone for good"
    assert world.ads == {}


def test_a_stage_that_breaks_ends_the_session_with_its_error(world: World) -> None:
    """A bug is no outage: no stage goes on without the others."""
    for n in range(10):
        world.publish(str(n), f"dark-{n}")
    world.fail("embed", ZeroDivisionError("a bug"))
    world.membership.grant(0)
    with Working(world) as working:
        working.until_ended()
    assert isinstance(working.error, ZeroDivisionError)


@pytest.mark.parametrize("backbone", ["b1", "b2"])
def test_a_changed_release_makes_ads_anew(world: World, backbone: str) -> None:
    """At any stage: they are scored again under the new set; none is skipped, none is old."""
    for n in range(6):
        world.publish(str(n), f"dark-{n}")
    world.hold("photo dark-5")
    world.hold("commit")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: "commit" in world.happened)
        for n in range(6, 9):  # scored for the old set while the commit is under way
            world.publish(str(n), f"dark-{n}")
        world.until(lambda: working.session.snapshot().batches_at_commit > 0)
        world.releases = (world.release("r2", backbone),)
        world.free("commit")
        world.until(lambda: world.committed(*"01234678"))
        world.free("photo dark-5")
        world.until(lambda: world.offsets == {0: 9})
    assert world.labels() == {str(n): {"r2": "dark"} for n in range(9)}
    assert {batch.releases for batch in world.commits} == {("r2",)}
    assert set(world.written.values()) == {1}


def test_a_candidate_is_scored_beside_the_live_release(world: World) -> None:
    """Every commit after it came in force holds predictions of both."""
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed("1"))
        world.releases = (*world.releases, world.release("r2", "b2"))
        world.publish("2", "bright-1")
        world.until(lambda: world.committed("2"))
    assert world.labels()["2"] == {"r1": "bright", "r2": "bright"}


def test_the_releases_may_be_away_when_they_change(world: World) -> None:
    """An outage while the new set is loaded is waited out as well."""
    world.publish("1", "dark-1")
    world.hold("commit")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: "commit" in world.happened)
        world.releases = (world.release("r2"),)
        world.fail("scorer", *[RetryableError("away")] * 3)
        world.free("commit")
        world.until(lambda: world.committed("1"))
    assert world.labels() == {"1": {"r2": "dark"}}


def test_a_photo_that_was_swept_away_is_loaded_again(world: World) -> None:
    """It was stored when the ad met it, and is not when the ad commits."""
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed("1"))
        world.hold("embed")
        world.publish("2", "dark-1", "bright-1")
        world.until(lambda: world.happened.count("embed") == 2)
        world.photos_stored.clear()
        world.free("embed")
        world.until(lambda: world.committed("2"))
    assert world.loads["dark-1"] == 3
    assert world.labels()["2"] != {}
    assert set(world.written.values()) == {1}


def test_a_lost_partition_takes_no_other_with_it(world: World) -> None:
    """Of one commit over two partitions, the lost one's work is void, the other's is written."""
    world.hold("embed")
    world.membership.grant(0, 1)
    with Working(world) as working:
        world.publish("first", "dark-0")
        world.until(lambda: "embed" in world.happened)
        for n in range(4):
            world.publish(f"{n}", f"dark-{n}", partition=n % 2)
        world.until(lambda: working.session.snapshot().ads_at_model == 4)
        world.membership.take_away(1)
        world.free("embed")
        world.until(lambda: world.offsets == {0: 3})
        world.publish("5", "dark-5")
        world.publish("6", "dark-6", partition=1)
        world.until(lambda: world.committed("5"))
        assert working.session.snapshot().partitions == {0: 1}
    assert {key.ad_id for key in world.ads} == {"first", "0", "2", "5"}
    assert world.offsets == {0: 4}
    assert world.refused == [frozenset({0, 1})], "one commit over both was refused, once"
    assert world.membership.given_up == [0], "what is another's is not given up"


def test_a_partition_lost_and_taken_again_in_one_look_goes_on(world: World) -> None:
    """What was at work is void and is read again: once written, and nobody waits for ever."""
    world.hold("photo dark-0")
    world.membership.grant(0)
    with Working(world, BLOCKED_FOR_LONG) as working:
        world.publish("0", "dark-0")
        world.until(lambda: world.loads["dark-0"] == 1)
        world.hold("poll")
        polls = world.happened.count("poll")
        world.until(lambda: world.happened.count("poll") > polls)
        world.membership.tell_lost(0)
        world.membership.grant(0)
        world.free("poll")
        world.until(lambda: world.loads["dark-0"] == 2)
        world.publish("0", "bright-0", revision=2)
        world.free("photo dark-0")
        world.until(lambda: world.offsets == {0: 2})
        assert working.session.snapshot().events_in_flight == 0
        assert working.session.snapshot().photos_in_flight == 0
    assert world.labels() == {"0": {"r1": "bright"}}
    assert world.written[AdKey("kg", "0")] == 2


def test_a_slow_ad_holds_up_no_other_and_the_offset_waits_for_it(world: World) -> None:
    """Ads overtake it; a crash meanwhile would read it again."""
    world.hold("photo dark-2")
    for n in range(6):
        world.publish(str(n), f"dark-{n}")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed(*"01345"))
        assert world.offsets == {0: 2}
        assert not world.committed("2")
        world.free("photo dark-2")
        world.until(lambda: world.offsets == {0: 6})
    assert set(world.written.values()) == {1}


def test_events_of_one_ad_take_turns_and_the_highest_stands_for_all(world: World) -> None:
    """A burst while the first is slow is scored once more, not three times more."""
    world.hold("photo dark-1")
    world.publish("1", "dark-1")
    for revision in (3, 5, 4):
        world.publish("1", f"bright-{revision}", revision=revision)
    world.publish("2", "dark-2")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed("2"))
        assert world.loads == {"dark-1": 1, "dark-2": 1}
        world.free("photo dark-1")
        world.until(lambda: world.offsets == {0: 5})
    assert world.ads[AdKey("kg", "1")].event.revision == 5
    assert world.loads == {"dark-1": 1, "dark-2": 1, "bright-5": 1}
    assert (working.total.written, working.total.unchanged) == (3, 2)


def test_what_is_held_already_costs_no_photo(world: World) -> None:
    """A replay is settled by its revision: no fetch, no model, and the offset moves."""
    world.publish("1", "dark-1", revision=3)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed("1"))
        for revision in (1, 2, 3):
            world.publish("1", "bright-1", revision=revision)
        world.until(lambda: world.offsets == {0: 4})
    assert world.loads == {"dark-1": 1}
    assert (working.total.written, working.total.unchanged) == (1, 3)


def test_an_asked_partition_goes_once_what_was_begun_is_committed(world: World) -> None:
    """Nothing more is read of it; the others go on."""
    world.hold("photo dark-0")
    world.publish("0", "dark-0")
    world.membership.grant(0, 1)
    with Working(world, BLOCKED_FOR_LONG):
        world.until(lambda: world.loads["dark-0"] == 1)
        world.membership.ask(0)
        world.until(lambda: world.stream.positions.keys() == {1})
        world.publish("1", "dark-1", partition=0)
        world.publish("2", "dark-2", partition=1)
        world.until(lambda: world.committed("2"))
        assert world.membership.given_up == []
        world.free("photo dark-0")
        world.until(lambda: world.membership.given_up == [0])
        assert world.committed("0"), "given up before it was committed"
        assert world.offsets == {0: 1, 1: 1}
    assert world.loads["dark-1"] == 0


def test_after_the_grace_an_asked_partition_goes_with_its_work_void(world: World) -> None:
    """A slow photo keeps no successor waiting; its ad is read again by whoever is next."""
    world.hold("photo dark-0")
    world.publish("0", "dark-0")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, grace_s=0.02)):
        world.until(lambda: world.committed("1"))
        world.membership.ask(0)
        world.until(lambda: world.membership.given_up == [0])
        world.free("photo dark-0")
        world.publish("2", "dark-2", partition=1)
        world.membership.grant(1)
        world.until(lambda: world.committed("2"))
        assert world.offsets == {1: 1}
        assert not world.committed("0")
        world.membership.grant(0)
        world.until(lambda: world.offsets == {0: 2, 1: 1})
    assert set(world.written.values()) == {1}


def test_back_pressure_reaches_the_stream(world: World) -> None:
    """However much waits, photos in flight stay within the limit, and reading goes on after."""
    limit, ads = 8, 200
    world.hold("embed")
    for n in range(ads):
        world.publish(str(n), f"dark-{n}", f"bright-{n}")
    world.membership.grant(0)
    with Working(world, replace(QUICK, most_photos=limit, max_records=16)) as working:
        world.until(lambda: working.session.snapshot().photos_in_flight == limit)
        polls = world.stream.polls
        time.sleep(3 * QUICK.poll_timeout_s)
        assert world.stream.polls == polls, "it went on polling while it was full"
        assert working.session.snapshot().photos_in_flight == limit
        assert sum(world.loads.values()) <= limit
        assert world.stream.positions[0] <= 2 * 16, "it read on into memory"
        world.free("embed")
        world.until(lambda: world.offsets == {0: ads})
    assert world.stream.polls > polls
    assert max(len(batch.ads) for batch in world.commits) <= limit // 2
    assert set(world.written.values()) == {1} and len(world.ads) == ads


def test_an_ad_larger_than_the_limit_goes_through_alone(world: World) -> None:
    """More photos than may be in flight is no dead end."""
    world.publish("1", *[f"dark-{n}" for n in range(9)])
    world.publish("2", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, most_photos=4, batch_photos=2)):
        world.until(lambda: world.offsets == {0: 2})
    assert world.labels() == {"1": {"r1": "dark"}, "2": {"r1": "dark"}}


def test_a_polite_stop_commits_what_was_begun(world: World) -> None:
    """Nothing new is begun, the partitions are given up, and then it ends."""
    stop = threading.Event()
    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0, 1)
    with Working(world, BLOCKED_FOR_LONG, keep_going=lambda: not stop.is_set()) as working:
        world.until(lambda: "commit" in world.happened)
        stop.set()
        world.until(lambda: world.stream.positions == {})
        world.publish("2", "dark-2")
        assert not working.ended
        world.free("commit")
        working.until_ended()
    assert working.error is None
    assert set(world.ads) == {AdKey("kg", "1")}
    assert sorted(world.membership.given_up) == [0, 1]


def test_an_interrupt_ends_in_the_same_order(world: World) -> None:
    """What was begun is committed before the interrupt goes on its way."""
    interrupted = threading.Event()

    def keep_going() -> bool:
        if interrupted.is_set():
            raise KeyboardInterrupt
        return True

    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, BLOCKED_FOR_LONG, keep_going=keep_going) as working:
        world.until(lambda: "commit" in world.happened)
        interrupted.set()
        world.until(lambda: world.membership.left)
        world.free("commit")
        working.until_ended()
    assert isinstance(working.error, KeyboardInterrupt)
    assert world.committed("1")
    assert world.membership.given_up == [0]


def test_an_idle_session_ends_but_not_before_its_work_is_done(world: World) -> None:
    """Nothing has come for long, yet an ad is still under way: it is waited for."""
    world.hold("photo dark-1")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, idle_s=0.02, grace_s=600)) as working:
        world.until(lambda: world.happened.count("poll") > 50)
        assert not world.membership.left
        world.free("photo dark-1")
        working.until_ended()
    assert working.error is None
    assert (world.committed("1"), world.offsets) == (True, {0: 1})


def test_a_standby_reads_nothing_until_it_is_given_a_partition(world: World) -> None:
    """It is warm and waits; then it reads from where the last one committed."""
    world.publish("0", "dark-0")
    world.publish("1", "dark-1")
    world.offsets[0] = 1
    with Working(world) as working:
        assert working.session.snapshot().partitions == {}
        world.membership.grant(0)
        world.until(lambda: world.offsets == {0: 2})
        assert working.session.snapshot().partitions == {0: 1}
    assert set(world.ads) == {AdKey("kg", "1")}
