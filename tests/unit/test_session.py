"""The loop: what comes in goes out once, in the order that makes a loss impossible."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from ops.errors import LeaseLostError, ReleaseChangedError, RetryableError
from ops.outcomes import Batch, CommitResult, DeadLetter
from ops.session import Session, SessionPolicy
from ops.tally import Tally
from ops.types import StreamRecord
from tests.batches import NOON, batch, dead_letter, event, outcome


class World:
    """Ports in memory, a clock that moves when it is slept on, and a list of what happened."""

    def __init__(self, pending: Sequence[Sequence[int]]) -> None:
        self.pending = [list(offsets) for offsets in pending]
        self.now = 0.0
        self.happened: list[str] = []
        self.committed: list[Batch] = []
        self.trouble: dict[str, list[Exception]] = {}
        self.reports: list[Tally] = []
        self.alive = True

    def fail(self, act: str, *errors: Exception) -> None:
        self.trouble[act] = list(errors)

    def _act(self, name: str) -> None:
        self.happened.append(name)
        if self.trouble.get(name):
            raise self.trouble[name].pop(0)

    def poll(self, *, max_records: int, timeout_s: float) -> list[StreamRecord]:
        self._act("poll")
        self.now += timeout_s
        offsets = self.pending.pop(0) if self.pending else []
        return [StreamRecord("ads", 0, offset, 0, None, b"x") for offset in offsets]

    def commit_group_offsets(self, next_offsets: Mapping[int, int]) -> None:
        self._act("follow")

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self._act("dead letters")

    def commit(self, made: Batch) -> CommitResult:
        self._act("commit")
        self.committed.append(made)
        accepted = {ad.event.key: NOON.date() for ad in made.ads}
        return CommitResult(accepted, datetime.now(UTC))

    def flush(self) -> None:
        self._act("flush")

    def score(self, records: Sequence[StreamRecord]) -> Batch:
        self._act("score")
        letters = tuple(dead_letter(r.offset) for r in records if r.offset % 10 == 9)
        ads = [outcome(event(str(r.offset)), offset=r.offset) for r in records if r.offset % 10 < 9]
        return batch(*ads, letters=letters)

    def scorer(self) -> "World":
        self._act("load")
        return self

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def keep_going(self) -> bool:
        return self.alive

    def session(self, **policy: float) -> Session:
        return Session(
            stream=self,
            dead_letters=self,
            results=self,
            scorer=self.scorer,
            keep_going=self.keep_going,
            report=self.reports.append,
            policy=SessionPolicy(idle_s=1.0, report_every_s=5.0, **policy),
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def offsets_of(world: World) -> list[int]:
    return sorted(
        place.offset
        for made in world.committed
        for place in [ad.receipt for ad in made.ads] + [x.receipt for x in made.dead_letters]
    )


def test_everything_that_was_polled_is_committed_once() -> None:
    """In = written + dead letters, and the session ends when nothing has come for a while."""
    world = World([range(0, 8), range(8, 16), [], range(16, 20)])
    total = world.session().run()
    assert offsets_of(world) == list(range(20))
    assert total.events == 20
    assert total.written + sum(total.dead_letters.values()) == 20
    assert total.unaccounted == 0
    assert sum(report.events for report in world.reports) == 20


def test_dead_letters_are_safe_before_the_commit_that_steps_over_them() -> None:
    """A crash in between doubles a letter; it never loses one."""
    world = World([[9]])
    world.session().run()
    assert world.happened.index("dead letters") < world.happened.index("commit")
    assert world.happened.index("commit") < world.happened.index("follow")


@pytest.mark.parametrize("act", ["load", "poll", "score", "dead letters", "commit", "flush"])
def test_an_outage_is_waited_out(act: str) -> None:
    """Whatever is away comes back, and nothing is lost or doubled."""
    world = World([range(0, 12), range(12, 15)])
    world.fail(act, *[RetryableError("away")] * 6)
    world.session().run()
    assert offsets_of(world) == list(range(15))


def test_an_outage_that_does_not_end_ends_the_session() -> None:
    """The run fails with the outage's own words, and the next one goes on from the last commit."""
    world = World([[1], [2]])
    world.fail("commit", *[RetryableError("gone for good")] * 10_000)
    with pytest.raises(RetryableError, match="gone for good"):
        world.session(outage_s=60).run()
    assert world.committed == []
    assert world.now < 120


def test_a_changed_release_makes_the_batch_anew() -> None:
    """The same records are scored again under the new set, then committed; none is skipped."""
    world = World([range(0, 5)])
    world.fail("commit", ReleaseChangedError("moved"))
    world.session().run()
    assert offsets_of(world) == list(range(5))
    assert world.happened.count("load") == 2
    assert world.happened.count("score") == 2


def test_a_lost_lease_ends_the_session_at_once() -> None:
    """Another session goes on; this one commits nothing more."""
    world = World([[1], [2], [3]])
    world.fail("commit", LeaseLostError("taken"))
    with pytest.raises(LeaseLostError):
        world.session().run()
    assert world.committed == []


def test_lag_tools_are_not_waited_for() -> None:
    """Kafka's group offsets serve nobody's truth: an error there is passed over."""
    world = World([[1], [2]])
    world.fail("follow", RetryableError("no coordinator"))
    assert world.session().run().events == 2


def test_a_polite_stop_ends_after_the_batch() -> None:
    """What was begun is committed; nothing new is begun."""
    world = World([[1], [2], [3]])
    committed = world.commit

    def commit_then_stop(made: Batch) -> CommitResult:
        world.alive = False
        return committed(made)

    world.commit = commit_then_stop  # type: ignore[method-assign]
    world.session().run()
    assert offsets_of(world) == [1]
