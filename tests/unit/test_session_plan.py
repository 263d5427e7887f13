"""When a session is asked for: by lag and leases, never by a run's status alone."""

from dataclasses import replace

from resources.leases import LeaseState
from sensors.session_plan import (
    END_GRACE_S,
    LONGEST_WAIT_S,
    START_GRACE_S,
    SessionRun,
    StreamState,
    plan_session,
    wait_s,
)

EMPTY = StreamState("s", ends={0: 0, 1: 0}, starts={0: 0, 1: 0}, committed={}, leases={})
BEHIND = replace(EMPTY, ends={0: 5, 1: 0})


def lease(partition: int, run_id: str, *, alive: bool, expired_s: float = 0.0) -> LeaseState:
    return LeaseState(partition, 1, run_id, alive, expired_s)


def test_nothing_waits_nothing_is_asked_for() -> None:
    """A drained topic needs no session."""
    assert plan_session(EMPTY, []).request is None
    assert plan_session(replace(BEHIND, committed={0: 5}), []).request is None


def test_events_wait_and_nobody_serves_them() -> None:
    """Lag without a living session asks for one, the same one however often it is looked at."""
    first, second = plan_session(BEHIND, []), plan_session(BEHIND, [])
    assert first.request is not None
    assert first.request == second.request


def test_progress_gives_the_request_another_name() -> None:
    """A commit in between makes the next request a new one; a lease alone does not."""
    name = plan_session(BEHIND, []).request
    moved = replace(BEHIND, committed={0: 3})
    assert plan_session(moved, []).request not in (None, name)
    held_before = replace(BEHIND, leases={0: lease(0, "r", alive=False, expired_s=9)})
    assert plan_session(held_before, []).request == name


def test_another_log_is_another_stream() -> None:
    """An embedded broker that came back empty has another id, so no run key is taken."""
    other = replace(BEHIND, stream_id="s2")
    assert plan_session(other, []).request != plan_session(BEHIND, []).request


def test_a_living_session_is_left_alone() -> None:
    """Lag on a partition that is served is that session's work."""
    served = replace(BEHIND, leases={0: lease(0, "r", alive=True)})
    plan = plan_session(served, [SessionRun("r", 9_999, queued=False)])
    assert plan.request is None
    assert plan.dead == ()


def test_lag_beside_a_living_session_is_served_too() -> None:
    """A partition that the living session does not hold asks for another."""
    state = replace(EMPTY, ends={0: 5, 1: 2}, leases={0: lease(0, "r", alive=True)})
    assert plan_session(state, [SessionRun("r", 10, queued=False)]).request is not None


def test_a_starting_run_is_waited_for_and_then_failed() -> None:
    """A run has a grace up to its first lease; queued, it may wait as long as it takes."""
    young = SessionRun("r", START_GRACE_S - 1, queued=False)
    assert plan_session(BEHIND, [young]).request is None
    old = SessionRun("r", START_GRACE_S + 1, queued=False)
    plan = plan_session(BEHIND, [old])
    assert [run for run, _ in plan.dead] == [old]
    assert plan.request is not None
    queued = SessionRun("r", START_GRACE_S * 50, queued=True)
    assert plan_session(BEHIND, [queued]) == plan_session(BEHIND, [young])


def test_a_killed_session_is_replaced_at_once_and_failed_after_its_grace() -> None:
    """The lease is dead: ads do not wait for the run's status, which may say started for ever."""
    just = replace(BEHIND, leases={0: lease(0, "r", alive=False, expired_s=0)})
    run = SessionRun("r", 9_999, queued=False)
    plan = plan_session(just, [run])
    assert plan.request is not None
    assert plan.dead == (), "it may be reporting what it did"
    long_gone = replace(just, leases={0: lease(0, "r", alive=False, expired_s=END_GRACE_S + 1)})
    assert [dead for dead, _ in plan_session(long_gone, [run]).dead] == [run]


def test_an_offset_outside_the_log_counts_as_lag() -> None:
    """Only a session may judge it: a topic that was cut or made anew must not look drained."""
    assert replace(EMPTY, ends={0: 3, 1: 0}, committed={0: 9}).unserved() == {0: 3}
    assert replace(EMPTY, committed={0: 9}).unserved() == {0: 1}
    trimmed = replace(EMPTY, starts={0: 50, 1: 0}, ends={0: 60, 1: 0}, committed={0: 9})
    assert trimmed.unserved() == {0: 10}


def test_runs_without_progress_are_waited_after_ever_longer() -> None:
    """A session that fails at once is not asked for every five seconds for ever."""
    waits = [wait_s(attempts) for attempts in range(12)]
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_S
