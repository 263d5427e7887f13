"""Who reads what, decided by each session alone: evenly, with few moves, never without a successor.

The simulation lets any number of sessions come, warm up, grow old, die and look at stale rows; a
lease is what keeps two of them off one partition, as in PostgreSQL.
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
    """A session; the higher its age, the earlier it started."""
    return Member(name, state, START - timedelta(minutes=age), due_in_s, code)


def decide(
    me: str, members: list[Member], holders: Mapping[int, str | None], sessions: int = 1
) -> Assignment:
    return decide_assignment(me, members, holders, sessions=sessions, lead_s=LEAD_S)


def test_alone_it_takes_everything() -> None:
    """The first session reads the whole topic."""
    free = dict.fromkeys(range(4))
    assert decide("a", [member("a")], free) == Assignment(acquire=(0, 1, 2, 3))


def test_two_share_and_the_second_takes_only_what_is_free() -> None:
    """The first gives half; nobody takes what another holds."""
    both = [member("a", 1), member("b")]
    held = dict.fromkeys(range(4), "a")
    assert decide("a", both, held, 2) == Assignment(release=(2, 3))
    assert decide("b", both, held, 2) == Assignment()
    assert decide("b", both, {0: "a", 1: "a", 2: None, 3: None}, 2) == Assignment(acquire=(2, 3))


def test_with_fewer_partitions_than_sessions_one_stands_by() -> None:
    """Nothing is moved for the sake of it: who holds the partition keeps it."""
    both = [member("a", 1), member("b")]
    for holder in ("a", "b"):
        for me in ("a", "b"):
            assert decide(me, both, {0: holder}, 2) == Assignment()


def test_the_odd_partition_stays_where_it_is() -> None:
    """Of three partitions, who holds two goes on holding two."""
    both = [member("a", 1), member("b")]
    held = {0: "b", 1: "b", 2: "a"}
    assert decide("a", both, held, 2) == decide("b", both, held, 2) == Assignment()


@pytest.mark.parametrize("state", ["warming", "leaving"])
def test_who_is_not_ready_takes_nothing_and_counts_for_nothing(state: State) -> None:
    """A session that loads its model would keep its ads waiting."""
    two = [member("a", 1), member("b", state=state)]
    held = {0: "a", 1: None}
    assert decide("b", two, held, 2) == Assignment()
    assert decide("a", two, held, 2) == Assignment(acquire=(1,))


def test_an_overdue_session_stays_until_its_successor_is_ready() -> None:
    """Better an old session than none."""
    held = dict.fromkeys(range(2), "old")
    old = member("old", 9, due_in_s=-5)
    assert decide("old", [old], held) == Assignment()
    assert decide("old", [old, member("new", state="warming")], held) == Assignment()
    ready = [old, member("new")]
    assert decide("old", ready, held) == Assignment(release=(0, 1), leave=True)


def test_of_two_overdue_sessions_the_older_goes_first() -> None:
    """With two to be kept and one successor ready, one goes."""
    two = [member("a", 9, due_in_s=-9), member("b", 8, due_in_s=-8), member("c")]
    held = {0: "a", 1: "b"}
    assert decide("a", two, held, 2).leave
    assert not decide("b", two, held, 2).leave
    assert not decide("c", two, held, 2).leave


def test_older_code_hands_over_to_newer() -> None:
    """The youngest session says which code is new: a roll back is a handover too."""
    held = {0: "a"}
    for newer in ("v2", "v0"):
        two = [member("a", 5, code="v1"), member("b", code=newer)]
        assert decide("a", two, held) == Assignment(release=(0,), leave=True)
        assert decide("b", two, held) == Assignment()


def test_a_successor_stands_by_until_its_predecessor_is_due() -> None:
    """Within the lead both are wanted: neither leaves as one too many."""
    two = [member("a", 9, due_in_s=LEAD_S - 1), member("b")]
    assert not any(decide(me, two, {0: "a"}).leave for me in ("a", "b"))


def test_one_too_many_leaves_and_it_is_the_idle_one() -> None:
    """A session that was started beside enough others ends; who reads goes on."""
    two = [member("a", 5), member("b", 1)]
    assert decide("b", two, {0: "a"}) == Assignment(leave=True)
    assert not decide("a", two, {0: "a"}).leave
    assert decide("a", two, {0: "b"}) == Assignment(leave=True)


def test_nothing_is_given_to_one_that_leaves() -> None:
    """It is ready still, and will be gone at its next look: partitions would only move twice."""
    two = [member("a", 5), member("b", 1)]
    assert decide("a", two, dict.fromkeys(range(4), "a")) == Assignment()
    old = [member("old", 9, due_in_s=-5), member("new")]
    assert decide("new", old, {0: "old", 1: None, 2: None}) == Assignment(acquire=(1, 2))


def test_ranks_name_every_session_once() -> None:
    """Overdue or of other code, soon due, and fresh: the oldest first."""
    everyone = [
        *(member("late", 9, due_in_s=0), member("soon", 5, due_in_s=LEAD_S)),
        *(member("odd", 7, code="v0"), member("new", 1), member("newer", 0)),
    ]
    ranks = rank(everyone, lead_s=LEAD_S)
    names = [[m.run_id for m in some] for some in (ranks.outdated, ranks.retiring, ranks.fresh)]
    assert names == [["late", "odd"], ["soon"], ["new", "newer"]]
    message = rank(everyone, lead_s=LEAD_S, newest_code="v0")
    assert [m.run_id for m in message.outdated] == ["late", "soon", "new", "newer"]
    assert rank([], lead_s=LEAD_S).fresh == ()


# --- the simulation


@dataclass
class Place:
    """Sessions, the leases that they took, and what each has been asked for."""

    sessions: int
    partitions: int
    members: dict[str, Member] = field(default_factory=dict)
    leases: dict[int, str] = field(default_factory=dict)
    asked: dict[str, set[int]] = field(default_factory=dict)
    seen: dict[str, tuple[list[Member], dict[int, str | None]]] = field(default_factory=dict)
    code: str = "v1"
    came: int = 0

    def holders(self) -> dict[int, str | None]:
        return {p: self.leases.get(p) for p in range(self.partitions)}

    def join(self) -> None:
        self.came += 1
        name = f"s{self.came}"
        self.members[name] = member(name, -self.came, code=self.code, state="warming")
        self.asked[name] = set()

    def change(self, name: str, **changes: object) -> None:
        self.members[name] = replace(self.members[name], **changes)

    def die(self, name: str) -> None:
        """Its connection ends, and its leases with it."""
        del self.members[name]
        self.leases = {p: holder for p, holder in self.leases.items() if holder != name}

    def look(self, name: str) -> None:
        """Read the rows; what is decided from them may come later."""
        self.seen[name] = (list(self.members.values()), self.holders())

    def act(self, name: str) -> None:
        """Decide by the rows read last, and do it as leases allow."""
        if name not in self.seen or self.members[name].state == "leaving":
            return
        members, holders = self.seen.pop(name)
        found = decide(name, members, holders, self.sessions)
        assert not set(found.acquire) & set(found.release)
        if found.leave:
            others = [m for m in members if m.state == "ready" and m.run_id != name]
            assert len(others) >= self.sessions, "it left without enough others ready"
            self.change(name, state="leaving")
        mine = {p for p, holder in self.leases.items() if holder == name}
        self.asked[name] |= set(found.release) & mine
        for partition in found.acquire:
            if partition not in self.leases:  # the lease's own condition
                assert self.members[name].state == "ready"
                self.leases[partition] = name

    def release(self, name: str) -> None:
        """What was asked for is committed, and given up."""
        for partition in self.asked[name]:
            assert self.leases.pop(partition) == name, "two held one partition"
        self.asked[name] = set()
        if self.members[name].state == "leaving" and name not in self.leases.values():
            self.die(name)

    def settle(self, dice: random.Random) -> int:
        """Let everybody look and act until nothing changes; how many partitions were given up."""
        moved = 0
        for _ in range(200):
            before = (dict(self.members), dict(self.leases))
            for name in dice.sample(sorted(self.members), len(self.members)):
                self.look(name)
                self.act(name)
                moved += len(self.asked[name])
                self.release(name)
            if (self.members, self.leases) == before:
                return moved
        raise AssertionError(f"they go on for ever: {before} {self.leases}")

    def check_settled(self) -> None:
        """Every partition has one holder, a ready one, and shares differ by one at most."""
        ready = [name for name, m in self.members.items() if m.state == "ready"]
        if not ready:
            return
        assert set(self.leases) == set(range(self.partitions)), "a partition that nobody reads"
        held = Counter(self.leases.values())
        assert set(held) <= set(ready)
        shares = [held[name] for name in ready]
        assert max(shares) - min(shares) <= 1, f"uneven: {shares}"


STEPS = ("join", "ready", "overdue", "soon", "die", "deploy", "look", "act", "release")


@settings(deadline=None, max_examples=300)
@given(
    sessions=st.integers(1, 4),
    partitions=st.integers(1, 9),
    steps=st.lists(st.sampled_from(STEPS), max_size=80),
    seed=st.integers(0, 2**32),
)
def test_whatever_happens_they_end_in_order(
    sessions: int, partitions: int, steps: list[str], seed: int
) -> None:
    """After any history each partition has one ready reader, evenly, and nobody is too many."""
    dice, place = random.Random(seed), Place(sessions, partitions)
    for step in [*["join"] * sessions, *steps]:
        if step == "join":
            place.join()
        elif step == "deploy":
            place.code = f"v{dice.randrange(3)}"
        elif place.members:
            name = dice.choice(sorted(place.members))
            if step == "ready" and place.members[name].state == "warming":
                place.change(name, state="ready")
            elif step in ("overdue", "soon"):
                place.change(name, due_in_s=-1.0 if step == "overdue" else LEAD_S / 2)
            elif step in ("die", "look", "act", "release"):
                getattr(place, step)(name)
    for name, each in list(place.members.items()):
        if each.state == "warming":
            place.change(name, state="ready")
    place.settle(dice)
    place.check_settled()
    ranks = rank(list(place.members.values()), lead_s=LEAD_S)
    assert len(ranks.fresh) <= sessions
    if len(ranks.fresh) == sessions:
        assert ranks.outdated == (), "a successor is there, and they stayed"


@settings(deadline=None, max_examples=300)
@given(
    held=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    free=st.integers(0, 6),
    joining=st.integers(0, 2),
    seed=st.integers(0, 2**32),
)
def test_as_few_partitions_move_as_can_be(
    held: list[int], free: int, joining: int, seed: int
) -> None:
    """From any distribution, no living holder gives up more than an even share demands."""
    dice, n = random.Random(seed), len(held) + joining
    place = Place(sessions=n, partitions=sum(held) + free)
    for _ in range(n):
        place.join()
    for name in place.members:
        place.change(name, state="ready")
    shuffled = iter(dice.sample(range(place.partitions), place.partitions))
    for name, count in zip(place.members, held, strict=False):
        place.leases.update({next(shuffled): name for _ in range(count)})
    least = fewest_moves([*held, *[0] * joining], place.partitions)
    moved = place.settle(dice)
    place.check_settled()
    assert moved == least, f"{moved} partitions moved, {least} had to"


def fewest_moves(held: list[int], partitions: int) -> int:
    """By trying every way to hand out even shares."""
    each, odd = divmod(partitions, len(held))
    return min(
        sum(max(0, count - each - (n in lucky)) for n, count in enumerate(held))
        for lucky in itertools.combinations(range(len(held)), odd)
    )


@given(seed=st.integers(0, 2**32), partitions=st.integers(1, 6))
@settings(deadline=None, max_examples=100)
def test_handover_after_handover_every_partition_is_read(seed: int, partitions: int) -> None:
    """Successor after successor: at every rest all partitions are read, by the newest alone."""
    dice, place = random.Random(seed), Place(1, partitions)
    for _ in range(5):
        for name in place.members:
            place.change(name, due_in_s=-1.0)
        place.settle(dice)
        place.check_settled()
        place.join()
        newest = f"s{place.came}"
        place.settle(dice)
        place.change(newest, state="ready")
        place.settle(dice)
        place.check_settled()
        assert set(place.members) == {newest}
