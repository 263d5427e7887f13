"""How many sessions to start: a pure decision over what the stream, PostgreSQL and Dagster say.

Decides by the sessions' own rows, not by run status: a killed stack leaves runs "started" for
ever. There shall be as many fresh sessions as the settings say; one that is soon due, or runs
older code, counts no more, so that its successor warms up beside it. Sessions that fail young are
waited after, ever longer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.session.assignment import rank
from resources.sessions.leases import MemberState

START_GRACE_S = 120.0
"""How long a run may take from its start to its seat: a process start, torch."""

END_GRACE_S = 60.0
"""How long a run may go on after its seat: it reports and checks what it did."""

RECENT_S = 120.0
"""A run that failed within so long got nowhere: waiting may help, at once would not."""

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class StreamLag:
    """The topic against what is committed."""

    ends: Mapping[int, int]  # the next offset that Kafka will give, by partition
    starts: Mapping[int, int]  # the log's first offset
    committed: Mapping[int, int]  # the next offset to read; none where nothing was committed

    @property
    def events(self) -> int:
        """Events that wait; a committed offset outside the log counts, for a session to judge."""
        return sum(self._of(partition) for partition in self.ends)

    def _of(self, partition: int) -> int:
        start, end = self.starts[partition], self.ends[partition]
        position = self.committed.get(partition, start)
        return end - position if start <= position <= end else max(end - start, 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the settings ask for."""

    sessions: int
    lead_s: float  # a session that is due within so long counts no more
    code_version: str
    idle: bool  # sessions end when nothing comes: start none before something does


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A session run that Dagster holds for unfinished."""

    run_id: str
    age_s: float  # since it was started, or asked for
    queued: bool  # nobody has tried to start it yet


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A session run that has ended."""

    failed: bool
    lasted_s: float
    ended_ago_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tick is to do."""

    start: int  # so many runs
    why: str
    dead: tuple[tuple[UnfinishedRun, str], ...] = ()  # runs to fail, with the reason


def plan_sessions(
    wanted: Wanted,
    lag: StreamLag | None,
    sessions: Mapping[str, MemberState],
    unfinished: Sequence[UnfinishedRun],
    finished: Sequence[FinishedRun],
) -> Plan:
    """What to start, and which runs are dead.

    A run lives while its seat does. Before it has one it has START_GRACE_S, or as long as it takes
    where it is still queued (a pool may be full); after it END_GRACE_S.

    Args:
        lag: None where nobody looked: it matters only where something is to be started.
        sessions: by run; those that have ended lately among them.
        finished: the latest first.
    """
    starting, dead = _sorted_out(sessions, unfinished)
    living = [s.member for s in sessions.values() if s.alive and s.member.state != "leaving"]
    ranks = rank(living, lead_s=wanted.lead_s, newest_code=wanted.code_version)
    missing = wanted.sessions - len(ranks.fresh) - len(starting)
    message = f"{len(ranks.fresh)} of {wanted.sessions} fresh sessions"
    if ranks.outdated or ranks.retiring:
        message += f", {len(ranks.outdated) + len(ranks.retiring)} that hand over"
    if starting:
        message += f", {len(starting)} starting"
    if lag is not None:
        message += f"; {lag.events} events wait"
    if missing <= 0:
        return Plan(0, message, dead)
    if wanted.idle and lag is not None and lag.events == 0:
        return Plan(0, f"no event waits, and idle sessions end ({message})", dead)
    due_s = _wait_s(finished)
    if due_s > 0:
        return Plan(0, f"sessions fail young, the next starts in {due_s:.0f} s ({message})", dead)
    return Plan(missing, message, dead)


def _sorted_out(
    sessions: Mapping[str, MemberState], unfinished: Sequence[UnfinishedRun]
) -> tuple[list[UnfinishedRun], tuple[tuple[UnfinishedRun, str], ...]]:
    """The runs that are starting, and those that are dead with the reason."""
    starting: list[UnfinishedRun] = []
    dead: list[tuple[UnfinishedRun, str]] = []
    for run in unfinished:
        membership = sessions.get(run.run_id)
        if membership is not None:
            if not membership.alive and membership.expired_s > END_GRACE_S:
                dead.append((run, "its seat ended long ago: the process was killed or froze"))
        elif not run.queued and run.age_s > START_GRACE_S:
            dead.append((run, f"it took no seat within {START_GRACE_S:.0f} s"))
        else:
            starting.append(run)
    return starting, tuple(dead)


def _wait_s(finished: Sequence[FinishedRun]) -> float:
    """How long to wait still, after the runs that failed young one after another."""
    failures = 0
    for run in finished:
        if not run.failed or run.lasted_s > RECENT_S:
            break
        failures += 1
    if failures == 0:
        return 0.0
    wait_s = min(FIRST_WAIT_S * 2.0 ** (failures - 1), LONGEST_WAIT_S)
    return wait_s - finished[0].ended_ago_s
