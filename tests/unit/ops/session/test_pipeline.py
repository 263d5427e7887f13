"""The session with its real threads: every event is committed once, through any failure."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ops.errors import RetryableError
from ops.session import pipeline
from ops.session.admission import AdWork
from ops.session.pipeline import IN_FLIGHT
from ops.session.tally import Tally
from ops.types import AdKey
from tests.support.session_world import QUICK, Working, World

LONG_GRACE = replace(QUICK, grace_s=600.0)


@pytest.fixture
def world() -> World:
    return World()


def merged(reports: list[Tally]) -> Tally:
    total = Tally()
    for report in reports:
        total.merge(report)
    return total


def test_everything_that_was_polled_is_committed_once(world: World) -> None:
    """Every event is written, unchanged or a dead letter, and the offsets cover all of them."""
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
    assert (total.events, total.admitted, total.unaccounted) == (120, 120, 0)
    assert sum(total.dead_letters.values()) == len(world.letters) == 3
    sent = {str(n % 60): 1 + n // 60 for n in range(120) if n % 40 != 39}
    assert {key.ad_id: ad.event.revision for key, ad in world.ads.items()} == sent
    offsets = [(r.partition, r.offset) for batch in world.commits for r in batch.receipts]
    assert len(offsets) == len(set(offsets)), "an event was committed twice"
    assert total.written == sum(world.written.values())
    assert merged(world.reports) == total, "a count is missing from the reports, or there twice"


def test_ads_that_waited_for_the_start_are_marked(world: World) -> None:
    """Those published before a partition that waited was assigned; not those that came later, and
    none of a partition that another session handed over."""
    world.publish("early", "dark-1")
    world.publish("handed over", "dark-2", partition=1)
    world.membership.grant(0, waited=True)
    world.membership.grant(1)
    with Working(world) as working:
        world.until(lambda: world.committed("early", "handed over"))
        world.publish("late", "dark-3")
        world.until(lambda: world.committed("late"))
        world.membership.revoke(0)
        world.until(lambda: 0 in world.membership.released)
        world.publish("came back", "dark-4")
        world.membership.grant(0)
        world.until(lambda: world.committed("came back"))
    marked = {key.ad_id for key, ad in world.ads.items() if ad.receipt.waited_for_session}
    assert marked == {"early"}
    total = working.total
    assert (total.written, total.waited_for_session, len(total.latencies_ms)) == (4, 1, 3)


def test_dead_letters_are_stored_before_the_commit_that_skips_them(world: World) -> None:
    """A crash in between stores a letter twice; it never loses one."""
    world.publish_bytes(b"nonsense")
    world.hold("dead letters")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: "dead letters" in world.calls)
        world.publish("1", "dark-1")
        world.until(lambda: "embed" in world.calls)
        assert world.commits == []
        world.free("dead letters")
        world.until(lambda: world.offsets == {0: 2})
    assert [letter.record.value for letter in world.letters] == [b"nonsense"]
    assert world.calls.index("dead letters") < world.calls.index("commit")


@pytest.mark.parametrize(
    "act", ["assign", "poll", "revisions", "photos", "store", "dead letters", "commit", "give up"]
)
def test_an_outage_is_waited_out(world: World, act: str) -> None:
    """After an outage of any port, no event is lost or duplicated."""
    for n in range(20):
        world.publish(str(n), f"dark-{n}")
        world.publish_bytes(b"nonsense")
    world.fail(act, *[RetryableError("unavailable")] * 6)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 40})
        assert working.error is None
    assert world.failures[act] == [], "the failing call was never made"
    assert set(world.written.values()) == {1} and len(world.ads) == 20
    assert len({letter.receipt.offset for letter in world.letters}) == 20
    assert working.total.unaccounted == 0
    assert world.membership.released == [0]


def test_an_outage_is_in_the_snapshot(world: World) -> None:
    """An outage is named, with its age, while it lasts, and not afterwards."""
    world.publish("1", "dark-1")
    world.fail("commit", *[RetryableError("unavailable")] * 100_000)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.calls.count("commit") >= 2)
        assert working.session.snapshot().waiting_for_s["commit"] > 0
        world.recover("commit")
        world.until(lambda: world.committed("1"))
        world.until(lambda: "committed" in world.calls)
        assert working.session.snapshot().waiting_for_s == {}


@pytest.mark.parametrize("act", ["poll", "revisions", "photos", "store", "dead letters", "commit"])
def test_an_outage_that_does_not_end_ends_the_session(world: World, act: str) -> None:
    """The run fails with the outage's error; the next run resumes after the last commit."""
    world.publish_bytes(b"nonsense")
    world.publish("1", "dark-1")
    world.fail(act, *[RetryableError("permanent outage")] * 100_000)
    world.membership.grant(0)
    with Working(world, replace(QUICK, outage_s=0.1)) as working:
        working.until_ended()
    assert isinstance(working.error, RetryableError)
    assert str(working.error) == "permanent outage"
    assert world.ads == {}


@pytest.mark.parametrize("backbone", ["b1", "b2"])
def test_ads_are_scored_again_when_the_release_changes(world: World, backbone: str) -> None:
    """Ads at any stage are scored under the new releases; none is skipped, none is old."""
    for n in range(6):
        world.publish(str(n), f"dark-{n}")
    world.hold("photo dark-5")
    world.hold("commit")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: "commit" in world.calls)
        for n in range(6, 9):  # scored under the old release while the commit is blocked
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
    """Every commit after its activation has predictions of both."""
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed("1"))
        world.releases = (*world.releases, world.release("r2", "b2"))
        world.publish("2", "bright-1")
        world.until(lambda: world.committed("2"))
    assert world.labels()["2"] == {"r1": "bright", "r2": "bright"}


def test_the_releases_may_be_unavailable_when_they_change(world: World) -> None:
    """An outage while the new releases are loaded is waited out as well."""
    world.publish("1", "dark-1")
    world.hold("commit")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: "commit" in world.calls)
        world.releases = (world.release("r2"),)
        world.fail("scorer", *[RetryableError("unavailable")] * 3)
        world.free("commit")
        world.until(lambda: world.committed("1"))
    assert world.labels() == {"1": {"r2": "dark"}}


def test_a_photo_that_was_deleted_is_loaded_again(world: World) -> None:
    """It was stored when the ad was loaded, and is not when the ad commits."""
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.committed("1"))
        world.hold("embed")
        world.publish("2", "dark-1", "bright-1")
        world.until(lambda: world.calls.count("embed") == 2)
        world.photos_stored.clear()
        world.free("embed")
        world.until(lambda: world.committed("2"))
    assert world.loads["dark-1"] == 3
    assert world.labels()["2"] != {}
    assert set(world.written.values()) == {1}


def test_a_lost_partition_affects_no_other(world: World) -> None:
    """Of a batch from two partitions, the lost one's work is dropped, the other's is written."""
    world.hold("embed")
    world.membership.grant(0, 1)
    with Working(world) as working:
        world.publish("first", "dark-0")
        world.until(lambda: "embed" in world.calls)
        for n in range(4):
            world.publish(f"{n}", f"dark-{n}", partition=n % 2)
        world.until(lambda: working.session.snapshot().ads_at_model == 4)
        world.membership.steal(1)
        world.free("embed")
        world.until(lambda: world.offsets == {0: 3})
        world.publish("5", "dark-5")
        world.publish("6", "dark-6", partition=1)
        world.until(lambda: world.committed("5"))
        assert working.session.snapshot().partitions == {0: 1}
    assert {key.ad_id for key in world.ads} == {"first", "0", "2", "5"}
    assert world.offsets == {0: 4}
    assert world.fenced == [frozenset({0, 1})], "one commit over both was rejected, once"
    assert world.membership.released == [0], "a lost partition must not be released"


def test_a_partition_lost_and_acquired_again_between_two_polls(world: World) -> None:
    """Its ads in process are stale and are read again: written once, and nothing blocks."""
    world.hold("photo dark-0")
    world.membership.grant(0)
    with Working(world, LONG_GRACE) as working:
        world.publish("0", "dark-0")
        world.until(lambda: world.loads["dark-0"] == 1)
        world.hold("poll")
        polls = world.calls.count("poll")
        world.until(lambda: world.calls.count("poll") > polls)
        world.membership.notify_lost(0)
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


def test_a_slow_ad_delays_no_other_and_the_offset_waits_for_it(world: World) -> None:
    """Other ads overtake it; after a crash it would be read again."""
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


def test_events_of_one_ad_wait_and_the_highest_supersedes_the_others(world: World) -> None:
    """A burst while the first event is slow is scored once more, not three times more."""
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
    assert (working.total.admitted, working.total.unaccounted) == (5, 0)


def test_a_stored_revision_loads_no_photo(world: World) -> None:
    """A replay is settled by its revision: no fetch, no model, and the offset advances."""
    world.publish("1", "dark-1", revision=3)
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.committed("1"))
        for revision in (1, 2, 3):
            world.publish("1", "bright-1", revision=revision)
        world.until(lambda: world.offsets == {0: 4})
    assert world.loads == {"dark-1": 1}
    assert (working.total.written, working.total.unchanged) == (1, 3)


def test_a_revoked_partition_is_released_once_its_work_is_committed(world: World) -> None:
    """Nothing more is read from it; the others go on."""
    world.hold("photo dark-0")
    world.publish("0", "dark-0")
    world.membership.grant(0, 1)
    with Working(world, LONG_GRACE):
        world.until(lambda: world.loads["dark-0"] == 1)
        world.membership.revoke(0)
        world.until(lambda: world.stream.next.keys() == {1})
        world.publish("1", "dark-1", partition=0)
        world.publish("2", "dark-2", partition=1)
        world.until(lambda: world.committed("2"))
        assert world.membership.released == []
        world.free("photo dark-0")
        world.until(lambda: world.membership.released == [0])
        assert world.committed("0"), "released before it was committed"
        assert world.offsets == {0: 1, 1: 1}
    assert world.loads["dark-1"] == 0


def test_after_the_grace_period_a_revoked_partition_is_released_with_its_work(world: World) -> None:
    """A slow photo does not delay the successor, which reads its ad again."""
    world.hold("photo dark-0")
    world.publish("0", "dark-0")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, grace_s=0.02)):
        world.until(lambda: world.committed("1"))
        world.membership.revoke(0)
        world.until(lambda: world.membership.released == [0])
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
    """Whatever the backlog, photos in flight stay within the limit, and reading resumes after."""
    limit, ads = 8, 200
    world.hold("embed")
    for n in range(ads):
        world.publish(str(n), f"dark-{n}", f"bright-{n}")
    world.membership.grant(0)
    with Working(world, replace(QUICK, max_photos=limit, max_records=16)) as working:
        world.until(lambda: working.session.snapshot().photos_in_flight == limit)
        polls = world.stream.polls
        time.sleep(3 * QUICK.poll_timeout_s)
        assert world.stream.polls == polls, "it polled while it was full"
        assert working.session.snapshot().photos_in_flight == limit
        assert sum(world.loads.values()) <= limit
        assert world.stream.next[0] <= 2 * 16, "it read on into memory"
        world.free("embed")
        world.until(lambda: world.offsets == {0: ads})
    assert world.stream.polls > polls
    assert max(len(batch.ads) for batch in world.commits) <= limit // 2
    assert set(world.written.values()) == {1} and len(world.ads) == ads


def test_an_ad_larger_than_the_limit_is_processed_alone(world: World) -> None:
    """An ad with more photos than may be in flight does not block the session."""
    world.publish("1", *[f"dark-{n}" for n in range(9)])
    world.publish("2", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, max_photos=4, batch_photos=2)):
        world.until(lambda: world.offsets == {0: 2})
    assert world.labels() == {"1": {"r1": "dark"}, "2": {"r1": "dark"}}


def test_a_graceful_stop_commits_the_ads_in_process(world: World) -> None:
    """Nothing new is started, the partitions are released, and then the session ends."""
    stop = threading.Event()
    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0, 1)
    with Working(world, LONG_GRACE, keep_going=lambda: not stop.is_set()) as working:
        world.until(lambda: "commit" in world.calls)
        stop.set()
        world.until(lambda: world.stream.next == {})
        world.publish("2", "dark-2")
        assert not working.ended
        world.free("commit")
        working.until_ended()
    assert working.error is None
    assert set(world.ads) == {AdKey("kg", "1")}
    assert sorted(world.membership.released) == [0, 1]


def test_an_interrupt_ends_in_the_same_order(world: World) -> None:
    """The ads in process are committed before the interrupt is raised."""
    interrupted = threading.Event()

    def keep_going() -> bool:
        if interrupted.is_set():
            raise KeyboardInterrupt
        return True

    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, LONG_GRACE, keep_going=keep_going) as working:
        world.until(lambda: "commit" in world.calls)
        interrupted.set()
        world.until(lambda: world.membership.left)
        world.free("commit")
        working.until_ended()
    assert isinstance(working.error, KeyboardInterrupt)
    assert world.committed("1")
    assert world.membership.released == [0]


def test_a_hung_stage_is_reported_in_time_after_the_request_to_leave(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for a graceful end counts: both together are `shutdown_s`."""
    hung: list[str] = []
    waited: list[float] = []
    stop = threading.Event()
    monkeypatch.setattr(pipeline, "_GRACEFUL_SHUTDOWN_S", 0.2)
    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    policy = replace(QUICK, grace_s=600, shutdown_s=0.1)
    join = threading.Thread.join

    def record(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("session-") and timeout is not None:
            waited.append(timeout)
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", record)
    with Working(world, policy, keep_going=lambda: not stop.is_set()) as working:

        def end_process(stages: Sequence[str]) -> None:
            hung.extend(stages)
            world.free("commit")  # instead of the end of the process

        working.session.ports = replace(working.session.ports, hung=end_process)
        world.until(lambda: "commit" in world.calls)
        stop.set()
        working.until_ended()
    assert "session-commit" in hung
    assert waited == [0.0] * 4, "the stages were given their whole time again"


def test_an_idle_session_ends_but_not_before_its_work_is_done(world: World) -> None:
    """No record has come for long, but an ad is still in process: the session waits for it."""
    world.hold("photo dark-1")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world, replace(QUICK, idle_s=0.02, grace_s=600)) as working:
        world.until(lambda: world.calls.count("poll") > 50)
        assert not world.membership.left
        world.free("photo dark-1")
        working.until_ended()
    assert working.error is None
    assert (world.committed("1"), world.offsets) == (True, {0: 1})


def test_a_standby_reads_nothing_until_it_is_assigned_a_partition(world: World) -> None:
    """It is warm and waits; then it reads from the offset that its predecessor committed."""
    world.publish("0", "dark-0")
    world.publish("1", "dark-1")
    world.offsets[0] = 1
    with Working(world) as working:
        assert working.session.snapshot().partitions == {}
        world.membership.grant(0)
        world.until(lambda: world.offsets == {0: 2})
        assert working.session.snapshot().partitions == {0: 1}
    assert set(world.ads) == {AdKey("kg", "1")}


def test_an_offset_advances_past_what_holds_no_event(world: World) -> None:
    """A transaction's marker or removed records at the end: nothing is left to be read."""
    world.publish("1", "dark-1")
    world.passed = {0: 4, 1: 2}
    world.membership.grant(0, 1)
    with Working(world) as working:
        world.until(lambda: world.offsets == {0: 4, 1: 2})
    total = working.total
    assert (total.events, total.written, total.unchanged, total.unaccounted) == (1, 1, 0, 0)


def test_an_offset_does_not_advance_past_an_ad_in_process(world: World) -> None:
    """The ad before a marker is slow: a session that dies now must read it again."""
    world.hold("photo slow")
    world.publish("1", "slow")
    world.passed = {0: 4}
    world.membership.grant(0)
    with Working(world):
        world.until(lambda: world.loads["slow"])
        world.publish("2", "dark-2", partition=1)
        world.membership.grant(1)
        world.until(lambda: world.committed("2"))
        assert 0 not in world.offsets
        world.free("photo slow")
        world.until(lambda: world.offsets == {0: 4, 1: 1})


def test_heartbeats_show_what_is_at_work(world: World) -> None:
    """A stage that is in a call, and the ads in process; a stage that waits for work is not there,
    and an outage is no hang."""
    world.membership.grant(0)
    with Working(world) as working:
        beats = working.session.heartbeats
        world.until(lambda: beats().keys() == {"session-intake", "session-photos"})
        world.hold("embed")
        world.publish("1", "dark-1")
        world.until(lambda: "embed" in world.calls)
        first, second = beats(), beats()
        assert first["session-model"] == second["session-model"]
        assert first[IN_FLIGHT] == second[IN_FLIGHT]
        world.fail("commit", *[RetryableError("unavailable")] * 100_000)
        world.free("embed")
        world.until(lambda: world.calls.count("commit") >= 2)
        assert IN_FLIGHT not in beats()
        before = beats()["session-commit"]
        world.until(lambda: beats()["session-commit"] > before)
        world.recover("commit")
        world.until(lambda: world.committed("1"))
        world.until(lambda: beats().keys() == {"session-intake", "session-photos"})


def test_a_slow_photo_is_at_work_by_itself(world: World) -> None:
    """Its ad is named, although the stage goes on with other photos."""
    world.hold("photo dark-1")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    with Working(world) as working:
        world.until(lambda: world.loads["dark-1"] == 1)
        for n in range(2, 5):
            world.publish(str(n), f"dark-{n}")
        world.until(lambda: world.committed("2", "3", "4"))

        def at_work() -> list[AdKey]:
            beats = working.session.heartbeats()
            return [who.event.key for who in beats if isinstance(who, AdWork)]

        world.until(lambda: at_work() == [AdKey("kg", "1")])
        world.free("photo dark-1")
        world.until(lambda: world.committed("1"))
        world.until(lambda: at_work() == [])


def test_an_ad_with_many_slow_photos_comes_back_with_each(world: World) -> None:
    """An ad that alone takes longer than a watchdog waits is not taken for hanging."""
    world.hold("photo dark-1")
    world.hold("photo dark-2")
    world.publish("1", "dark-1", "dark-2")
    world.membership.grant(0)
    with Working(world) as working:
        beats = working.session.heartbeats
        world.until(lambda: world.loads["dark-1"] == 1)
        before = beats()
        world.free("photo dark-1")
        world.until(lambda: world.loads["dark-2"] == 1)
        after = beats()
        (ad,) = [who for who in after if isinstance(who, AdWork)]
        assert after[ad] > before[ad] and after[IN_FLIGHT] > before[IN_FLIGHT]
        world.free("photo dark-2")
        world.until(lambda: world.committed("1"))


def test_a_stage_that_does_not_end_is_reported(world: World) -> None:
    """At the end of the session, so that the process can be ended although a thread hangs."""
    hung: list[str] = []
    world.hold("commit")
    world.publish("1", "dark-1")
    world.membership.grant(0)
    policy = replace(QUICK, grace_s=0.0, shutdown_s=0.01)
    with Working(world, policy) as working:

        def end_process(stages: Sequence[str]) -> None:
            hung.extend(stages)
            world.free("commit")  # instead of the end of the process

        working.session.ports = replace(working.session.ports, hung=end_process)
        world.until(lambda: "commit" in world.calls)
        world.membership.leave()
        working.until_ended()
    assert hung == ["session-commit"]
