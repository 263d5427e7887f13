"""Partition assignment: even, with few moves, and no session leaves without a successor.

In the simulation sessions start, warm up, become overdue, die and act on stale rows. As in
PostgreSQL, a lease keeps two sessions from reading one partition.
"""

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.session.assignment import Assignment, Member, State, decide_assignment, rank

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
LEAD_S = 60.0


def member(
    name: str, age: int = 0, *, due_in_s: float = 1_000, code: str = "v1", state: State = "ready"
) -> Member:
    """A session; `age` is in minutes."""
    return Member(name, state, START - timedelta(minutes=age), due_in_s, code)


def decide(
    me: str, members: list[Member], holders: Mapping[int, str | None], sessions: int = 1
) -> Assignment:
    return decide_assignment(me, members, holders, sessions=sessions, lead_s=LEAD_S)


def test_a_single_session_acquires_everything() -> None:
    """The first session reads the whole topic."""
    free = dict.fromkeys(range(4))
    assert decide("a", [member("a")], free) == Assignment(acquire=(0, 1, 2, 3))


def test_two_sessions_share_and_the_second_acquires_only_free_partitions() -> None:
    """The first releases half; no session acquires a partition that another owns."""
    both = [member("a", 1), member("b")]
    holders = dict.fromkeys(range(4), "a")
    assert decide("a", both, holders, 2) == Assignment(release=(2, 3))
    assert decide("b", both, holders, 2) == Assignment()
    assert decide("b", both, {0: "a", 1: "a", 2: None, 3: None}, 2) == Assignment(acquire=(2, 3))


def test_with_fewer_partitions_than_sessions_one_stands_by() -> None:
    """No partition moves without need: its holder keeps it."""
    both = [member("a", 1), member("b")]
    for holder in ("a", "b"):
        for me in ("a", "b"):
            assert decide(me, both, {0: holder}, 2) == Assignment()


def test_the_odd_partition_stays_where_it_is() -> None:
    """Of three partitions, the session that owns two keeps two."""
    both = [member("a", 1), member("b")]
    holders = {0: "b", 1: "b", 2: "a"}
    assert decide("a", both, holders, 2) == decide("b", both, holders, 2) == Assignment()


@pytest.mark.parametrize("state", ["warming", "leaving"])
def test_a_session_that_is_not_ready_has_no_share(state: State) -> None:
    """While it loads its model, its ads would wait."""
    two = [member("a", 1), member("b", state=state)]
    holders = {0: "a", 1: None}
    assert decide("b", two, holders, 2) == Assignment()
    assert decide("a", two, holders, 2) == Assignment(acquire=(1,))


def test_an_overdue_session_stays_until_its_successor_is_ready() -> None:
    """An old session is better than none."""
    holders = dict.fromkeys(range(2), "old")
    old = member("old", 9, due_in_s=-5)
    assert decide("old", [old], holders) == Assignment()
    assert decide("old", [old, member("new", state="warming")], holders) == Assignment()
    ready = [old, member("new")]
    assert decide("old", ready, holders) == Assignment(release=(0, 1), leave=True)


def test_of_two_overdue_sessions_the_older_leaves_first() -> None:
    """With a target of two sessions and one successor ready, one leaves."""
    three = [member("a", 9, due_in_s=-9), member("b", 8, due_in_s=-8), member("c")]
    holders = {0: "a", 1: "b"}
    assert decide("a", three, holders, 2).leave
    assert not decide("b", three, holders, 2).leave
    assert not decide("c", three, holders, 2).leave


def test_older_code_hands_over_to_newer() -> None:
    """The session started last has the current code: a rollback is a handover too."""
    holders = {0: "a"}
    for newer in ("v2", "v0"):
        two = [member("a", 5, code="v1"), member("b", code=newer)]
        assert decide("a", two, holders) == Assignment(release=(0,), leave=True)
        assert decide("b", two, holders) == Assignment()


def test_a_successor_stands_by_until_its_predecessor_is_due() -> None:
    """Within the lead both are needed: neither is surplus."""
    two = [member("a", 9, due_in_s=LEAD_S - 1), member("b")]
    assert not any(decide(me, two, {0: "a"}).leave for me in ("a", "b"))


def test_a_surplus_session_leaves_and_it_is_the_idle_one() -> None:
    """A session that was started beside enough others ends; the one that reads goes on."""
    two = [member("a", 5), member("b", 1)]
    assert decide("b", two, {0: "a"}) == Assignment(leave=True)
    assert not decide("a", two, {0: "a"}).leave
    assert decide("a", two, {0: "b"}) == Assignment(leave=True)


def test_a_leaving_session_acquires_nothing() -> None:
    """It is still ready but about to leave: its partitions would only move twice."""
    two = [member("a", 5), member("b", 1)]
    assert decide("a", two, dict.fromkeys(range(4), "a")) == Assignment()
    old = [member("old", 9, due_in_s=-5), member("new")]
    assert decide("new", old, {0: "old", 1: None, 2: None}) == Assignment(acquire=(1, 2))


def test_ranks_name_every_session_once() -> None:
    """Outdated, retiring and fresh, each with the oldest first."""
    everyone = [
        *(member("late", 9, due_in_s=0), member("soon", 5, due_in_s=LEAD_S)),
        *(member("odd", 7, code="v0"), member("new", 1), member("newer", 0)),
    ]
    ranks = rank(everyone, lead_s=LEAD_S)
    names = [[m.run_id for m in some] for some in (ranks.outdated, ranks.retiring, ranks.fresh)]
    assert names == [["late", "odd"], ["soon"], ["new", "newer"]]
    of_v0 = rank(everyone, lead_s=LEAD_S, newest_code="v0")
    assert [m.run_id for m in of_v0.outdated] == ["late", "soon", "new", "newer"]
    assert rank([], lead_s=LEAD_S).fresh == ()


# --- the simulation


@dataclass
class Simulation:
    """Sessions, their leases, and the partitions that each is to release."""

    sessions: int
    partitions: int
    members: dict[str, Member] = field(default_factory=dict)
    leases: dict[int, str] = field(default_factory=dict)
    revoked: dict[str, set[int]] = field(default_factory=dict)
    seen: dict[str, tuple[list[Member], dict[int, str | None]]] = field(default_factory=dict)
    code: str = "v1"
    started: int = 0

    def holders(self) -> dict[int, str | None]:
        return {p: self.leases.get(p) for p in range(self.partitions)}

    def join(self) -> None:
        self.started += 1
        name = f"s{self.started}"
        self.members[name] = member(name, -self.started, code=self.code, state="warming")
        self.revoked[name] = set()

    def change(self, name: str, **changes: object) -> None:
        self.members[name] = replace(self.members[name], **changes)

    def die(self, name: str) -> None:
        """End a session's connection, and its leases with it."""
        del self.members[name]
        self.leases = {p: holder for p, holder in self.leases.items() if holder != name}

    def look(self, name: str) -> None:
        """Read the rows; the session may act on them later."""
        self.seen[name] = (list(self.members.values()), self.holders())

    def act(self, name: str) -> None:
        """Decide by the rows that were read last, and act as the leases allow."""
        if name not in self.seen or self.members[name].state == "leaving":
            return
        members, holders = self.seen.pop(name)
        assignment = decide(name, members, holders, self.sessions)
        assert not set(assignment.acquire) & set(assignment.release)
        if assignment.leave:
            others = [m for m in members if m.state == "ready" and m.run_id != name]
            assert len(others) >= self.sessions, "it left without enough others ready"
            self.change(name, state="leaving")
        mine = {p for p, holder in self.leases.items() if holder == name}
        self.revoked[name] |= set(assignment.release) & mine
        for partition in assignment.acquire:
            if partition not in self.leases:  # the condition of the lease
                assert self.members[name].state == "ready"
                self.leases[partition] = name

    def release(self, name: str) -> None:
        """Release the revoked partitions, as after their commit."""
        for partition in self.revoked[name]:
            assert self.leases.pop(partition) == name, "two sessions owned one partition"
        self.revoked[name] = set()
        if self.members[name].state == "leaving" and name not in self.leases.values():
            self.die(name)

    def close_complete_days(self, dice: random.Random) -> int:
        """Let all sessions look and act until nothing changes; returns the partitions released."""
        moved = 0
        for _ in range(200):
            before = (dict(self.members), dict(self.leases))
            for name in dice.sample(sorted(self.members), len(self.members)):
                self.look(name)
                self.act(name)
                moved += len(self.revoked[name])
                self.release(name)
            if (self.members, self.leases) == before:
                return moved
        raise AssertionError(f"the assignment does not settle: {before} {self.leases}")

    def check_settled(self) -> None:
        """Every partition has one ready holder, and shares differ by one at most."""
        ready = [name for name, m in self.members.items() if m.state == "ready"]
        if not ready:
            return
        assert set(self.leases) == set(range(self.partitions)), "a partition has no reader"
        owned = Counter(self.leases.values())
        assert set(owned) <= set(ready)
        shares = [owned[name] for name in ready]
        assert max(shares) - min(shares) <= 1, f"uneven: {shares}"


STEPS = ("join", "ready", "overdue", "soon", "die", "deploy", "look", "act", "release")


@settings(deadline=None, max_examples=300)
@given(
    sessions=st.integers(1, 4),
    partitions=st.integers(1, 9),
    steps=st.lists(st.sampled_from(STEPS), max_size=80),
    seed=st.integers(0, 2**32),
)
def test_any_history_settles(sessions: int, partitions: int, steps: list[str], seed: int) -> None:
    """After any history partitions are shared evenly by ready sessions, and none is surplus."""
    dice, simulation = random.Random(seed), Simulation(sessions, partitions)
    for step in [*["join"] * sessions, *steps]:
        if step == "join":
            simulation.join()
        elif step == "deploy":
            simulation.code = f"v{dice.randrange(3)}"
        elif simulation.members:
            name = dice.choice(sorted(simulation.members))
            if step == "ready" and simulation.members[name].state == "warming":
                simulation.change(name, state="ready")
            elif step in ("overdue", "soon"):
                simulation.change(name, due_in_s=-1.0 if step == "overdue" else LEAD_S / 2)
            elif step in ("die", "look", "act", "release"):
                getattr(simulation, step)(name)
    for name, each in list(simulation.members.items()):
        if each.state == "warming":
            simulation.change(name, state="ready")
    simulation.close_complete_days(dice)
    simulation.check_settled()
    ranks = rank(list(simulation.members.values()), lead_s=LEAD_S)
    assert len(ranks.fresh) <= sessions
    if len(ranks.fresh) == sessions:
        assert ranks.outdated == (), "an outdated session stayed beside its successor"


@settings(deadline=None, max_examples=300)
@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    free=st.integers(0, 6),
    joining=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_as_few_partitions_move_as_possible(
    counts: list[int], free: int, joining: int, seed: int
) -> None:
    """From any distribution, no live holder releases more than an even share requires."""
    dice, n = random.Random(seed), len(counts) + joining
    simulation = Simulation(sessions=n, partitions=sum(counts) + free)
    for _ in range(n):
        simulation.join()
    for name in simulation.members:
        simulation.change(name, state="ready")
    shuffled = iter(dice.sample(range(simulation.partitions), simulation.partitions))
    for name, count in zip(simulation.members, counts, strict=False):
        simulation.leases.update({next(shuffled): name for _ in range(count)})
    least = fewest_moves([*counts, *[0] * joining], simulation.partitions)
    moved = simulation.close_complete_days(dice)
    simulation.check_settled()
    assert moved == least, f"{moved} partitions moved, {least} had to"


def fewest_moves(counts: list[int], partitions: int) -> int:
    """The minimum over every even division of the partitions, by brute force."""
    each, odd = divmod(partitions, len(counts))
    return min(
        sum(max(0, count - each - (n in lucky)) for n, count in enumerate(counts))
        for lucky in itertools.combinations(range(len(counts)), odd)
    )


@given(seed=st.integers(0, 2**32), partitions=st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_handover_after_handover_every_partition_is_read(seed: int, partitions: int) -> None:
    """After each of several handovers, the newest session alone reads all partitions."""
    dice, simulation = random.Random(seed), Simulation(1, partitions)
    for _ in range(5):
        for name in simulation.members:
            simulation.change(name, due_in_s=-1.0)
        simulation.close_complete_days(dice)
        simulation.check_settled()
        simulation.join()
        newest = f"s{simulation.started}"
        simulation.close_complete_days(dice)
        simulation.change(newest, state="ready")
        simulation.close_complete_days(dice)
        simulation.check_settled()
        assert set(simulation.members) == {newest}
