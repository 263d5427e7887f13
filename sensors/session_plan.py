"""Whether a session must be started: a pure decision over what the stream and Dagster say.

Decides by leases, not by run status: a killed stack leaves runs "started" for ever. A request is
named by the committed offsets that it starts from, so that two ticks that see the same thing ask
for the same run, and Dagster makes one of them; once a session has committed, the name is another.
Runs that ended without progress are counted by that name, and waited after.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from resources.leases import LeaseState

START_GRACE_S = 90.0
"""How long a run may take from its start to its lease: a process start, torch, the weights."""

END_GRACE_S = 60.0
"""How long a run may go on after its lease: it reports and checks what it did."""

NOTHING = "no event waits"

FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 300.0


@dataclass(frozen=True, slots=True)
class StreamState:
    """The topic and its sessions, as one tick sees them."""

    stream_id: str
    ends: Mapping[int, int]  # the next offset that Kafka will give, by partition
    starts: Mapping[int, int]  # the log's first offset, by partition
    committed: Mapping[int, int]  # the next offset to read; none where nothing was committed
    leases: Mapping[int, LeaseState]

    def lag(self, partition: int) -> int:
        """Events that wait: a committed offset outside the log counts as lag, for a session to
        judge."""
        start, end = self.starts[partition], self.ends[partition]
        position = self.committed.get(partition, start)
        return end - position if start <= position <= end else max(end - start, 1)

    def unserved(self) -> dict[int, int]:
        """Lag of the partitions that have some and no living session."""
        lags = {partition: self.lag(partition) for partition in self.ends}
        return {
            partition: lag
            for partition, lag in lags.items()
            if lag > 0 and not self._alive(partition)
        }

    def digest(self) -> str:
        """Names this state: it changes with every commit."""
        text = repr((self.stream_id, sorted(self.committed.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _alive(self, partition: int) -> bool:
        lease = self.leases.get(partition)
        return lease is not None and lease.alive


@dataclass(frozen=True, slots=True)
class SessionRun:
    """A session run that Dagster holds for unfinished."""

    run_id: str
    age_s: float  # since it was asked for
    queued: bool  # nobody has tried to start it yet


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tick is to do."""

    request: str | None  # the name of the run to ask for, without its attempt
    why: str
    dead: tuple[tuple[SessionRun, str], ...] = ()  # runs to fail, with the reason


def plan_session(state: StreamState, unfinished: Sequence[SessionRun]) -> Plan:
    """Ask for a session, or say why not; and name the runs that are dead.

    A run lives while it holds a lease. Before its first one it has START_GRACE_S, or as long as
    it takes where it is still queued (a pool may be full); after its last one END_GRACE_S.
    """
    alive = {lease.run_id for lease in state.leases.values() if lease.alive}
    ended_s = {lease.run_id: lease.expired_s for lease in state.leases.values()}
    starting: list[SessionRun] = []
    dead: list[tuple[SessionRun, str]] = []
    for run in unfinished:
        if run.run_id in alive:
            continue
        if run.run_id in ended_s:
            if ended_s[run.run_id] > END_GRACE_S:
                dead.append((run, "its lease ended long ago: the process was killed or froze"))
        elif not run.queued and run.age_s > START_GRACE_S:
            dead.append((run, f"it took no lease within {START_GRACE_S:.0f} s"))
        else:
            starting.append(run)
    unserved = state.unserved()
    if not unserved:
        waiting = sum(state.lag(partition) for partition in state.ends)
        why = f"{waiting} events wait for the sessions that are at work" if waiting else NOTHING
        return Plan(None, why, tuple(dead))
    if starting:
        return Plan(None, f"run {starting[0].run_id} is starting", tuple(dead))
    told = ", ".join(f"{partition}: {lag}" for partition, lag in sorted(unserved.items()))
    why = f"events wait (by partition) {told}"
    return Plan(f"{state.stream_id}/{state.digest()}", why, tuple(dead))


def wait_s(attempts: int) -> float:
    """How long to wait after a number of runs that ended without progress."""
    if attempts == 0:
        return 0.0
    return float(min(FIRST_WAIT_S * 2 ** (attempts - 1), LONGEST_WAIT_S))
