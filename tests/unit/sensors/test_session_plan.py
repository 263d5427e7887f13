"""When sessions are asked for: by the seats that are taken, never by a run's status alone."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ops.session.assignment import Member, State
from resources.sessions.leases import MemberState
from sensors.session_plan import (
    END_GRACE_S,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    RECENT_S,
    START_GRACE_S,
    FinishedRun,
    Plan,
    StreamLag,
    UnfinishedRun,
    Wanted,
    plan_sessions,
)

LEAD_S = 90.0
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DRAINED = StreamLag(ends={0: 5, 1: 0}, starts={0: 0, 1: 0}, committed={0: 5})
BEHIND = StreamLag(ends={0: 5, 1: 0}, starts={0: 0, 1: 0}, committed={0: 3})


def wanted(sessions: int = 1, *, code: str = "v1", idle: bool = False) -> Wanted:
    return Wanted(sessions, LEAD_S, code, idle)


def membership(
    run_id: str,
    *,
    state: State = "ready",
    due_in_s: float = 1_800,
    code: str = "v1",
    alive: bool = True,
    expired_s: float = 0.0,
    age_s: float = 1_800,
) -> dict[str, MemberState]:
    member = Member(run_id, state, NOW - timedelta(seconds=age_s), due_in_s, code)
    return {run_id: MemberState(member, alive, expired_s, "host", 1, "")}


def running(*run_ids: str, age_s: float = 1_800, queued: bool = False) -> list[UnfinishedRun]:
    return [UnfinishedRun(run_id, age_s, queued) for run_id in run_ids]


def plan(
    want: Wanted,
    sessions: dict[str, MemberState],
    unfinished: list[UnfinishedRun],
    *,
    lag: StreamLag = DRAINED,
    finished: list[FinishedRun] | None = None,
) -> Plan:
    return plan_sessions(want, lag, sessions, unfinished, [] if finished is None else finished)


def test_sessions_are_kept_even_if_nothing_waits() -> None:
    """The next ad must find a warm session: as many are started as the settings say."""
    assert plan(wanted(), {}, []).start == 1
    assert plan(wanted(3), {}, []).start == 3
    assert plan(wanted(3), membership("a"), running("a")).start == 2


def test_enough_sessions_are_left_alone() -> None:
    """However much waits: lag is their work, and more of them would only share it."""
    sessions = membership("a") | membership("b")
    found = plan(wanted(2), sessions, running("a", "b"), lag=BEHIND)
    assert (found.start, found.dead) == (0, ())


def test_with_idle_minutes_nothing_starts_before_something_waits() -> None:
    """Sessions that ended for want of events are not started again at once."""
    assert plan(wanted(idle=True), {}, []).start == 0
    assert plan(wanted(idle=True), {}, [], lag=BEHIND).start == 1


def test_a_session_that_is_starting_is_waited_for() -> None:
    """A run without a seat has a grace; queued, it may wait as long as it takes."""
    young = running("a", age_s=START_GRACE_S - 1)
    assert plan(wanted(), {}, young, lag=BEHIND) == Plan(
        0, "0 of 1 fresh sessions, 1 starting; 2 events wait"
    )
    assert plan(wanted(), {}, running("a", age_s=START_GRACE_S * 50, queued=True)).start == 0
    late = running("a", age_s=START_GRACE_S + 1)
    found = plan(wanted(), {}, late)
    assert [run for run, _ in found.dead] == late
    assert found.start == 1


def test_a_warming_session_counts() -> None:
    """It has its seat and will be ready: a second one would stand idle beside it."""
    warming = membership("a", state="warming", age_s=5)
    assert plan(wanted(), warming, running("a", age_s=5), lag=BEHIND).start == 0


def test_a_successor_is_asked_for_before_its_predecessor_is_due() -> None:
    """It needs time to warm up; the two then stand side by side, and no third is asked for."""
    assert plan(wanted(), membership("a", due_in_s=LEAD_S + 1), running("a")).start == 0
    soon = membership("a", due_in_s=LEAD_S - 1)
    assert plan(wanted(), soon, running("a")).start == 1
    both = soon | membership("b", state="warming", age_s=1)
    assert plan(wanted(), both, running("a", "b")).start == 0
    overdue = membership("a", due_in_s=-30) | membership("b", age_s=20)
    assert plan(wanted(), overdue, running("a", "b")).start == 0


def test_a_session_of_other_code_is_replaced() -> None:
    """A deployment is a handover: the old one counts no more, and is not failed."""
    old = membership("a", code="v1")
    found = plan(wanted(code="v2"), old, running("a"))
    assert (found.start, found.dead) == (1, ())
    both = old | membership("b", code="v2", age_s=3)
    assert plan(wanted(code="v2"), both, running("a", "b")).start == 0


def test_a_leaving_session_does_not_count() -> None:
    """It takes no more events: its place is free."""
    leaving = membership("a", state="leaving")
    found = plan(wanted(), leaving, running("a"))
    assert (found.start, found.dead) == (1, ())


def test_a_killed_session_is_replaced_at_once_and_failed_after_its_grace() -> None:
    """Its seat is dead: ads do not wait for the run's status, which may say started for ever."""
    just = membership("a", alive=False, expired_s=0)
    found = plan(wanted(), just, running("a"))
    assert found.start == 1
    assert found.dead == (), "it may be reporting what it did"
    long_gone = membership("a", alive=False, expired_s=END_GRACE_S + 1)
    found = plan(wanted(), long_gone, running("a"))
    assert [run.run_id for run, _ in found.dead] == ["a"]
    assert found.start == 1


def test_a_session_counts_by_its_seat_whatever_dagster_says() -> None:
    """A run that Dagster has lost sight of still reads its partitions."""
    assert plan(wanted(), membership("a"), []).start == 0


def failed(lasted_s: float = 3.0, ended_ago_s: float = 0.0) -> FinishedRun:
    return FinishedRun(True, lasted_s, ended_ago_s)


def test_young_failures_are_waited_after_ever_longer() -> None:
    """A session that fails at once is not started again every five seconds for ever."""

    def waits(failures: int, ago_s: float) -> bool:
        runs = [failed(ended_ago_s=ago_s), *[failed(ended_ago_s=9_999)] * (failures - 1)]
        return plan(wanted(), {}, [], finished=runs).start == 0

    longest = []
    for failures in range(1, 12):
        wait_s = next(s for s in range(int(LONGEST_WAIT_S) + 2) if not waits(failures, s))
        assert all(waits(failures, s) for s in range(wait_s))
        longest.append(wait_s)
    assert longest[0] == FIRST_WAIT_S
    assert longest[-1] == LONGEST_WAIT_S
    assert all(shorter <= longer for shorter, longer in pairwise(longest))
    assert "sessions fail young" in plan(wanted(), {}, [], finished=[failed()]).why


def test_only_failures_in_a_row_and_young_ones_are_waited_after() -> None:
    """A session that worked for long, or ended well, breaks the row."""
    well = FinishedRun(False, 1.0, 0.0)
    for runs in ([well, failed(), failed()], [failed(lasted_s=RECENT_S + 1), failed()]):
        assert plan(wanted(), {}, [], finished=runs).start == 1


def test_a_wait_keeps_nobody_from_failing_the_dead() -> None:
    """What is dead is said whether or not something starts."""
    late = running("a", age_s=START_GRACE_S + 1)
    found = plan(wanted(), {}, late, finished=[failed()])
    assert (found.start, len(found.dead)) == (0, 1)


def test_an_offset_outside_the_log_counts_as_waiting() -> None:
    """Only a session may judge it: a topic that was cut or made anew must not look drained."""
    assert DRAINED.events == 0
    assert BEHIND.events == 2
    beyond = StreamLag(ends={0: 3, 1: 0}, starts={0: 0, 1: 0}, committed={0: 9})
    assert beyond.events == 3
    emptied = StreamLag(ends={0: 0}, starts={0: 0}, committed={0: 9})
    assert emptied.events == 1
    trimmed = StreamLag(ends={0: 60}, starts={0: 50}, committed={0: 9})
    assert trimmed.events == 10
