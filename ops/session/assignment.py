"""Who reads which partition, and who leaves: a pure decision that every session makes by itself.

All look at the same rows in PostgreSQL and come to the same answer; where two looked at different
moments, leases and epochs keep them apart. Decides that partitions are shared evenly and moved as
little as possible, and that a session leaves only once its successor is ready.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["warming", "ready", "leaving"]


@dataclass(frozen=True, slots=True)
class Member:
    """A living session of a topic."""

    run_id: str
    state: State
    started_at: datetime
    due_in_s: float  # until it has worked for as long as a session should; negative after that
    code_version: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a session is to do about its partitions now."""

    acquire: tuple[int, ...] = ()  # free ones
    release: tuple[int, ...] = ()  # of its own
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Ranks:
    """The sessions by how long they will stay."""

    outdated: tuple[Member, ...]  # overdue, or of older code: a successor replaces them
    retiring: tuple[Member, ...]  # soon overdue: a successor is due to warm up beside them
    fresh: tuple[Member, ...]


def decide_assignment(
    me: str,
    members: Collection[Member],
    holders: Mapping[int, str | None],
    *,
    sessions: int,
    lead_s: float,
) -> Assignment:
    """What `me` is to do.

    Args:
        me: a run id; one that is not ready does nothing.
        members: the living ones.
        holders: every partition of the topic, with the run that holds it; None where it is free.
        sessions: how many there shall be.
        lead_s: so long before it is due, a session's successor may stand beside it.
    """
    ready = [member for member in members if member.state == "ready"]
    mine = [partition for partition, holder in sorted(holders.items()) if holder == me]
    leaving = leavers(ready, holders, sessions=sessions, lead_s=lead_s)
    if me in leaving:
        return Assignment(release=tuple(mine), leave=True)
    # Nothing is given to one that leaves: it would come back at once.
    quota = quotas([m for m in ready if m.run_id not in leaving], holders).get(me)
    if quota is None:
        return Assignment()
    free = [partition for partition, holder in sorted(holders.items()) if holder is None]
    return Assignment(acquire=tuple(free[: max(0, quota - len(mine))]), release=tuple(mine[quota:]))


def rank(members: Collection[Member], *, lead_s: float, newest_code: str | None = None) -> Ranks:
    """Each rank the oldest first. The newest code is the youngest session's, unless told."""
    if not members:
        return Ranks((), (), ())
    by_age = sorted(members, key=lambda member: (member.started_at, member.run_id))
    code = by_age[-1].code_version if newest_code is None else newest_code
    outdated = [m for m in by_age if m.due_in_s <= 0 or m.code_version != code]
    rest = [m for m in by_age if m not in outdated]
    return Ranks(
        outdated=tuple(outdated),
        retiring=tuple(m for m in rest if m.due_in_s <= lead_s),
        fresh=tuple(m for m in rest if m.due_in_s > lead_s),
    )


def leavers(
    ready: Sequence[Member], holders: Mapping[int, str | None], *, sessions: int, lead_s: float
) -> set[str]:
    """Who is too many: the outdated, oldest first; then of the fresh the idle, the youngest."""
    ranks = rank(ready, lead_s=lead_s)
    held = _held(holders)
    old = ranks.outdated[: max(0, len(ready) - sessions)]
    dispensable = sorted(
        ranks.fresh, key=lambda m: (held[m.run_id], -m.started_at.timestamp(), m.run_id)
    )
    youngest = dispensable[: max(0, len(ranks.fresh) - sessions)]
    return {member.run_id for member in (*old, *youngest)}


def quotas(ready: Sequence[Member], holders: Mapping[int, str | None]) -> dict[str, int]:
    """How many partitions each ready session should have; who holds most keeps the odd one."""
    held = _held(holders)
    ranked = sorted(ready, key=lambda m: (-held[m.run_id], m.started_at, m.run_id))
    each, odd = divmod(len(holders), max(1, len(ranked)))
    return {member.run_id: each + (place < odd) for place, member in enumerate(ranked)}


def _held(holders: Mapping[int, str | None]) -> Counter[str]:
    return Counter(holder for holder in holders.values() if holder is not None)
