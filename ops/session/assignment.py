"""Partition assignment and retirement of sessions: a pure function that every session evaluates.

All sessions read the same rows in PostgreSQL and compute the same assignment. Where two sessions
read them at different times, leases and epochs keep them from reading the same partition.
Partitions are shared evenly and moved as little as possible, and a session leaves only once its
successor is ready.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

State = Literal["warming", "ready", "leaving"]


@dataclass(frozen=True, slots=True)
class Member:
    """A live session of a topic."""

    run_id: str
    state: State
    started_at: datetime
    due_in_s: float  # seconds until the planned end of the session; negative after it
    code_version: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a session should do with its partitions now."""

    acquire: tuple[int, ...] = ()  # free partitions
    release: tuple[int, ...] = ()  # partitions that the session owns
    leave: bool = False  # release everything and end


@dataclass(frozen=True, slots=True)
class Ranks:
    """The sessions of a topic, by the time that they have left."""

    outdated: tuple[Member, ...]  # overdue, or of another code version: to be replaced
    retiring: tuple[Member, ...]  # due within the lead: a successor may warm up beside them
    fresh: tuple[Member, ...]  # all others


def decide_assignment(
    me: str,
    members: Collection[Member],
    holders: Mapping[int, str | None],
    *,
    sessions: int,
    lead_s: float,
) -> Assignment:
    """Compute the assignment of the session `me`.

    Args:
        me: a run id; a session that is not ready gets nothing to do.
        members: the live sessions.
        holders: every partition of the topic, with the run that owns it; None where it is free.
        sessions: the target number of sessions.
        lead_s: how many seconds before its planned end a session may have a standby successor.
    """
    ready = [member for member in members if member.state == "ready"]
    mine = [partition for partition, holder in sorted(holders.items()) if holder == me]
    leaving = leavers(ready, holders, sessions=sessions, lead_s=lead_s)
    if me in leaving:
        return Assignment(release=tuple(mine), leave=True)
    # A leaving session has no quota: it would release its partitions again at once.
    quota = quotas([m for m in ready if m.run_id not in leaving], holders).get(me)
    if quota is None:
        return Assignment()
    free = [partition for partition, holder in sorted(holders.items()) if holder is None]
    return Assignment(acquire=tuple(free[: max(0, quota - len(mine))]), release=tuple(mine[quota:]))


def rank(members: Collection[Member], *, lead_s: float, newest_code: str | None = None) -> Ranks:
    """Rank the sessions, each rank with the oldest first.

    Args:
        newest_code: the current code version; None: that of the session started last.
    """
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
    """The run ids of surplus sessions.

    Outdated sessions leave first, the oldest first. Of surplus fresh sessions, those with the
    fewest partitions leave first, then those that were started last.
    """
    ranks = rank(ready, lead_s=lead_s)
    owned = _partition_counts(holders)
    old = ranks.outdated[: max(0, len(ready) - sessions)]
    dispensable = sorted(
        ranks.fresh, key=lambda m: (owned[m.run_id], -m.started_at.timestamp(), m.run_id)
    )
    surplus = dispensable[: max(0, len(ranks.fresh) - sessions)]
    return {member.run_id for member in (*old, *surplus)}


def quotas(ready: Sequence[Member], holders: Mapping[int, str | None]) -> dict[str, int]:
    """The number of partitions that each ready session should own.

    The remainder of an uneven division goes to the sessions that own most partitions now.
    """
    owned = _partition_counts(holders)
    ranked = sorted(ready, key=lambda m: (-owned[m.run_id], m.started_at, m.run_id))
    each, remainder = divmod(len(holders), max(1, len(ranked)))
    return {member.run_id: each + (place < remainder) for place, member in enumerate(ranked)}


def _partition_counts(holders: Mapping[int, str | None]) -> Counter[str]:
    """The number of partitions that each run owns."""
    return Counter(holder for holder in holders.values() if holder is not None)
