"""Plans how many sessions to start: a pure function of Kafka's, PostgreSQL's and Dagster's state.

Counts sessions by their own rows, not by run status, since a killed stack leaves runs in the status
STARTED. The target is as many fresh sessions as the settings say. A session that is soon due, or
that runs older code, does not count, so that its successor warms up beside it. Neither does one of
another stream: it reads another log, perhaps of a broker that has ended. After sessions that
fail soon after their start, the next start is delayed with exponential back-off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.session.assignment import rank
from resources.sessions.group.members import MemberState

END_GRACE_S = 60.0
"""Seconds that a run may continue after its membership: it writes reports and runs checks."""

LATE_S = 10.0
"""A session that warms up at idle priority, on a busy machine, may renew its row so late."""

RECENT_S = 120.0
"""A run that failed within so many seconds counts for the back-off."""

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class StreamLag:
    """The topic's offsets and the committed offsets, by partition."""

    ends: Mapping[int, int]  # the next offset that Kafka will assign
    starts: Mapping[int, int]  # the log's first offset
    committed: Mapping[int, int]  # the next offset to read; missing if nothing was committed

    @property
    def events(self) -> int:
        """The waiting events; an offset outside the log counts too, for a session to resolve."""
        return sum(self._of(partition) for partition in self.ends)

    @property
    def waiting(self) -> Mapping[int, int]:
        """The next offset to read of each partition where events wait."""
        return {
            partition: self.committed.get(partition, self.starts[partition])
            for partition in self.ends
            if self._of(partition) > 0
        }

    def _of(self, partition: int) -> int:
        start, end = self.starts[partition], self.ends[partition]
        position = self.committed.get(partition, start)
        return end - position if start <= position <= end else max(end - start, 1)


@dataclass(frozen=True, slots=True)
class SessionTarget:
    """The target from the settings."""

    sessions: int
    lead_s: float  # a session that is due within so many seconds does not count
    code_version: str
    idle: bool  # sessions end without events: start one only if events wait
    start_s: float  # from a run's launch to its membership
    stream_id: str | None = None  # sessions of another stream do not count; None: not known


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A session run that is unfinished in Dagster."""

    run_id: str
    age_s: float  # since it was started, or requested
    queued: bool  # not launched yet


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A session run that has ended."""

    failed: bool
    lasted_s: float
    ended_ago_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of a tick."""

    start: int  # the number of runs to start
    why: str
    dead: tuple[tuple[UnfinishedRun, str], ...] = ()  # runs to fail, each with the reason


def plan_sessions(
    target: SessionTarget,
    lag: StreamLag | None,
    sessions: Mapping[str, MemberState],
    unfinished: Sequence[UnfinishedRun],
    finished: Sequence[FinishedRun],
) -> Plan:
    """Plan what to start, and which runs are dead.

    A run is alive while its membership is. Before the membership it has the target's `start_s`, or
    no limit while it is queued (a pool may be full); after it END_GRACE_S.

    Args:
        lag: None if it was not read: it matters only if a session may have to start.
        sessions: by run id, including those that ended recently.
        finished: the latest first.
    """
    starting, dead = _starting_and_dead(target.start_s, sessions, unfinished)
    working = [s for s in sessions.values() if s.alive and s.member.state != "leaving"]
    alive = [s.member for s in working if target.stream_id in (None, s.stream_id)]
    ranks = rank(alive, lead_s=target.lead_s, newest_code=target.code_version)
    missing = target.sessions - len(ranks.fresh) - len(starting)
    message = f"{len(ranks.fresh)} of {target.sessions} fresh sessions"
    if ranks.outdated or ranks.retiring:
        message += f", {len(ranks.outdated) + len(ranks.retiring)} handing over"
    if starting:
        message += f", {len(starting)} starting"
    if len(alive) < len(working):
        message += f", {len(working) - len(alive)} of another stream"
    if lag is not None:
        message += f"; {lag.events} events waiting"
    if missing <= 0:
        return Plan(0, message, dead)
    if target.idle and lag is not None and lag.events == 0:
        return Plan(0, f"no events waiting, and idle sessions end ({message})", dead)
    due_s = _wait_s(finished)
    if due_s > 0:
        return Plan(
            0,
            f"sessions fail soon after their start, the next starts in {due_s:.0f} s ({message})",
            dead,
        )
    return Plan(missing, message, dead)


def _starting_and_dead(
    start_s: float, sessions: Mapping[str, MemberState], unfinished: Sequence[UnfinishedRun]
) -> tuple[list[UnfinishedRun], tuple[tuple[UnfinishedRun, str], ...]]:
    """The runs that are starting, and the dead ones with the reason."""
    starting: list[UnfinishedRun] = []
    dead: list[tuple[UnfinishedRun, str]] = []
    for run in unfinished:
        membership = sessions.get(run.run_id)
        if membership is not None:
            warms_up = membership.member.state == "warming"
            if not membership.alive and membership.expired_s > END_GRACE_S:
                dead.append((run, "its membership expired: the process was killed or is frozen"))
            elif not membership.alive and warms_up and membership.expired_s <= LATE_S:
                starting.append(run)
        elif not run.queued and run.age_s > start_s:
            dead.append((run, f"it did not join the group within {start_s:.0f} s"))
        else:
            starting.append(run)
    return starting, tuple(dead)


def _wait_s(finished: Sequence[FinishedRun]) -> float:
    """The seconds still to wait, after the last runs that failed soon after their start."""
    failures = 0
    for run in finished:
        if not run.failed or run.lasted_s > RECENT_S:
            break
        failures += 1
    if failures == 0:
        return 0.0
    wait_s = min(FIRST_WAIT_S * 2.0 ** (failures - 1), LONGEST_WAIT_S)
    return wait_s - finished[0].ended_ago_s
