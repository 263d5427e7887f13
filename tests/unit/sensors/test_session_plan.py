"""When sessions are requested: by their memberships, never by a run's status alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ops.session.assignment import Member, State
from resources.sessions.group.members import MemberState
from sensors.session_plan import (
    END_GRACE_S,
    FIRST_WAIT_S,
    LATE_S,
    LONGEST_WAIT_S,
    RECENT_S,
    FinishedRun,
    Plan,
    SessionTarget,
    StreamLag,
    UnfinishedRun,
    plan_sessions,
)

LEAD_S, START_S = 90.0, 120.0
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DRAINED = StreamLag(ends={0: 5, 1: 0}, starts={0: 0, 1: 0}, committed={0: 5})
BEHIND = StreamLag(ends={0: 5, 1: 0}, starts={0: 0, 1: 0}, committed={0: 3})


def target(sessions: int = 1, *, code: str = "v1", idle: bool = False) -> SessionTarget:
    return SessionTarget(sessions, LEAD_S, code, idle, START_S)


def membership(
    run_id: str,
    *,
    state: State = "ready",
    due_in_s: float = 1_800,
    code: str = "v1",
    alive: bool = True,
    expired_s: float = 0.0,
    age_s: float = 1_800,
    stream_id: str = "this",
) -> dict[str, MemberState]:
    member = Member(run_id, state, NOW - timedelta(seconds=age_s), due_in_s, code)
    return {run_id: MemberState(member, alive, expired_s, "host", 1, "", stream_id)}


def running(*run_ids: str, age_s: float = 1_800, queued: bool = False) -> list[UnfinishedRun]:
    return [UnfinishedRun(run_id, age_s, queued) for run_id in run_ids]


def plan(
    of: SessionTarget,
    sessions: dict[str, MemberState],
    unfinished: list[UnfinishedRun],
    *,
    lag: StreamLag = DRAINED,
    finished: list[FinishedRun] | None = None,
) -> Plan:
    return plan_sessions(of, lag, sessions, unfinished, [] if finished is None else finished)


def test_sessions_are_kept_even_if_nothing_waits() -> None:
    """The next ad must find a warm session: as many sessions start as the settings say."""
    assert plan(target(), {}, []).start == 1
    assert plan(target(3), {}, []).start == 3
    assert plan(target(3), membership("a"), running("a")).start == 2


def test_enough_sessions_are_left_alone() -> None:
    """However many events wait: more sessions than the settings say are not started."""
    sessions = membership("a") | membership("b")
    result = plan(target(2), sessions, running("a", "b"), lag=BEHIND)
    assert (result.start, result.dead) == (0, ())


def test_with_idle_minutes_nothing_starts_before_something_waits() -> None:
    """Sessions that ended for lack of events are not started again at once."""
    assert plan(target(idle=True), {}, []).start == 0
    assert plan(target(idle=True), {}, [], lag=BEHIND).start == 1


def test_a_session_that_is_starting_is_waited_for() -> None:
    """A run without membership has a grace period; a queued run may wait without limit."""
    recent = running("a", age_s=START_S - 1)
    assert plan(target(), {}, recent, lag=BEHIND) == Plan(
        0, "0 of 1 fresh sessions, 1 starting; 2 events waiting"
    )
    assert plan(target(), {}, running("a", age_s=START_S * 50, queued=True)).start == 0
    late = running("a", age_s=START_S + 1)
    result = plan(target(), {}, late)
    assert [run for run, _ in result.dead] == late
    assert result.start == 1


def test_a_session_of_another_stream_does_not_count() -> None:
    """It reads another log, perhaps of a broker that has ended. Its run is not failed: it lives."""
    of = replace(target(), stream_id="this")
    left = membership("a", stream_id="embedded-1")
    result = plan(of, left, running("a"), lag=BEHIND)
    assert (result.start, result.dead) == (1, ())
    assert result.why == "0 of 1 fresh sessions, 1 of another stream; 2 events waiting"
    assert plan(of, left | membership("b"), running("a", "b")).start == 0
    assert plan(target(), left, running("a")).start == 0, "while Kafka does not say which it is"


def test_a_warming_session_counts() -> None:
    """It is a member and will be ready: a second session would be idle."""
    warming = membership("a", state="warming", age_s=5)
    assert plan(target(), warming, running("a", age_s=5), lag=BEHIND).start == 0


def test_a_successor_is_requested_before_its_predecessor_is_due() -> None:
    """It needs time to warm up; while both run, no third is requested."""
    assert plan(target(), membership("a", due_in_s=LEAD_S + 1), running("a")).start == 0
    soon = membership("a", due_in_s=LEAD_S - 1)
    assert plan(target(), soon, running("a")).start == 1
    both = soon | membership("b", state="warming", age_s=1)
    assert plan(target(), both, running("a", "b")).start == 0
    overdue = membership("a", due_in_s=-30) | membership("b", age_s=20)
    assert plan(target(), overdue, running("a", "b")).start == 0


def test_a_session_of_other_code_is_replaced() -> None:
    """A deployment is a handover: the old session does not count, and is not failed."""
    old = membership("a", code="v1")
    result = plan(target(code="v2"), old, running("a"))
    assert (result.start, result.dead) == (1, ())
    both = old | membership("b", code="v2", age_s=3)
    assert plan(target(code="v2"), both, running("a", "b")).start == 0


def test_a_leaving_session_does_not_count() -> None:
    """It reads no more events, so another session starts."""
    leaving = membership("a", state="leaving")
    result = plan(target(), leaving, running("a"))
    assert (result.start, result.dead) == (1, ())


def test_a_killed_session_is_replaced_at_once_and_failed_after_its_grace() -> None:
    """Its membership expired: ads do not wait for the run's status, which may stay STARTED."""
    expired = membership("a", alive=False, expired_s=0)
    result = plan(target(), expired, running("a"))
    assert result.start == 1
    assert result.dead == (), "it may be writing its reports"
    long_expired = membership("a", alive=False, expired_s=END_GRACE_S + 1)
    result = plan(target(), long_expired, running("a"))
    assert [run.run_id for run, _ in result.dead] == ["a"]
    assert result.start == 1


def test_a_session_counts_by_its_membership_not_its_run_status() -> None:
    """A session whose run is unknown to Dagster still reads its partitions."""
    assert plan(target(), membership("a"), []).start == 0


def failed(lasted_s: float = 3.0, ended_ago_s: float = 0.0) -> FinishedRun:
    return FinishedRun(True, lasted_s, ended_ago_s)


def test_starts_back_off_after_immediate_failures() -> None:
    """A session that fails at once is not started again every five seconds."""

    def waits(failures: int, ago_s: float) -> bool:
        runs = [failed(ended_ago_s=ago_s), *[failed(ended_ago_s=9_999)] * (failures - 1)]
        return plan(target(), {}, [], finished=runs).start == 0

    longest = []
    for failures in range(1, 12):
        wait_s = next(s for s in range(int(LONGEST_WAIT_S) + 2) if not waits(failures, s))
        assert all(waits(failures, s) for s in range(wait_s))
        longest.append(wait_s)
    assert longest[0] == FIRST_WAIT_S
    assert longest[-1] == LONGEST_WAIT_S
    assert all(shorter <= longer for shorter, longer in pairwise(longest))
    assert "sessions fail soon after their start" in plan(target(), {}, [], finished=[failed()]).why


def test_only_consecutive_immediate_failures_delay_a_start() -> None:
    """A session that ran for long, or succeeded, resets the back-off."""
    well = FinishedRun(False, 1.0, 0.0)
    for runs in ([well, failed(), failed()], [failed(lasted_s=RECENT_S + 1), failed()]):
        assert plan(target(), {}, [], finished=runs).start == 1


def test_dead_runs_are_failed_during_a_back_off() -> None:
    """Dead runs are reported whether or not a session starts."""
    late = running("a", age_s=START_S + 1)
    result = plan(target(), {}, late, finished=[failed()])
    assert (result.start, len(result.dead)) == (0, 1)


def test_an_offset_outside_the_log_counts_as_waiting() -> None:
    """A session must resolve it: a truncated or recreated topic must not look drained."""
    assert DRAINED.events == 0
    assert BEHIND.events == 2
    beyond = StreamLag(ends={0: 3, 1: 0}, starts={0: 0, 1: 0}, committed={0: 9})
    assert beyond.events == 3
    emptied = StreamLag(ends={0: 0}, starts={0: 0}, committed={0: 9})
    assert emptied.events == 1
    trimmed = StreamLag(ends={0: 60}, starts={0: 50}, committed={0: 9})
    assert trimmed.events == 10


def test_a_session_that_warms_up_and_renews_late_is_still_starting() -> None:
    """At idle priority on a busy machine it may miss a renewal. Killed, it is soon replaced."""
    run = running("a", age_s=30)
    late = membership("a", state="warming", alive=False, expired_s=LATE_S)
    assert plan(target(), late, run).start == 0
    killed = membership("a", state="warming", alive=False, expired_s=LATE_S + 1)
    assert plan(target(), killed, run).start == 1
    dead = membership("a", state="ready", alive=False, expired_s=1.0)
    assert plan(target(), dead, run).start == 1
