"""What Dagster's runs end as when a stack stops."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lalafo_assets.stack import runs as stack_runs
from lalafo_assets.stack.runs import DagsterRuns
from ops.session.assignment import Member, State
from resources.sessions.group.members import MemberState

S = dg.DagsterRunStatus


@dg.job
def nothing() -> None:
    """A job without ops."""


@pytest.fixture
def dagster_home(tmp_path: Path) -> Path:
    """A Dagster instance in a folder, with SQLite."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}")
    return tmp_path


def test_runs_whose_processes_have_ended_are_ended(dagster_home: Path) -> None:
    """Canceled; failed if Dagster retries it, so that it is retried. Others stay as they are."""
    retried = {"dagster/max_retries": "3"}
    expected = {
        (S.NOT_STARTED, False): S.NOT_STARTED,
        (S.STARTING, False): S.CANCELED,
        (S.STARTED, False): S.CANCELED,
        (S.STARTED, True): S.FAILURE,
        (S.CANCELING, True): S.CANCELED,
        (S.SUCCESS, False): S.SUCCESS,
        (S.FAILURE, False): S.FAILURE,
    }
    messages: list[str] = []
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        created = {
            case: instance.create_run_for_job(
                nothing, status=case[0], tags=retried if case[1] else {}
            ).run_id
            for case in expected
        }
        runs = DagsterRuns(dagster_home, messages.append)
        assert not runs.are_finished()
        runs.end_unfinished()
        assert runs.are_finished()
        found = {case: instance.get_run_by_id(run_id) for case, run_id in created.items()}
    assert {case: run.status for case, run in found.items() if run is not None} == expected
    assert len(messages) == 4


def member(run_id: str, state: State, *, alive: bool, failed: bool = False) -> MemberState:
    of = Member(run_id, state, datetime.now(UTC), 60.0, "v1")
    return MemberState(of, alive, 0.0, "host", 1, "", "stream", failed)


def test_a_session_that_has_handed_over_ends_as_a_success(dagster_home: Path) -> None:
    """Its process had no time to say so; a run whose session failed, or died, is not one."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        left, failed, killed = (
            instance.create_run_for_job(nothing, status=S.STARTED).run_id for _ in range(3)
        )
        sessions = {
            left: member(left, "leaving", alive=False),
            failed: member(failed, "leaving", alive=False, failed=True),
            killed: member(killed, "ready", alive=False),
        }
        runs = DagsterRuns(dagster_home, lambda _: None, lambda: sessions)
        runs.end_unfinished()
        ended = {run.run_id: run.status for run in instance.get_runs()}
    assert ended == {left: S.SUCCESS, failed: S.CANCELED, killed: S.CANCELED}


def test_what_has_not_begun_is_canceled_before_it_gets_a_signal(dagster_home: Path) -> None:
    """A signal just before its op begins would make it a failure, and people would get an alert. A
    session that has joined handles the signal itself; what Dagster retries has to fail."""
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        joined, starting, retried = (
            instance.create_run_for_job(nothing, status=S.STARTED, tags=tags).run_id
            for tags in ({}, {}, {"dagster/max_retries": "3"})
        )
        sessions = {joined: member(joined, "ready", alive=True)}
        runs = DagsterRuns(dagster_home, lambda _: None, lambda: sessions)
        runs.cancel_what_has_not_begun()
        marked = {run.run_id: run.status for run in instance.get_runs()}
    assert marked == {joined: S.STARTED, starting: S.CANCELING, retried: S.STARTED}


def test_a_database_that_does_not_answer_keeps_nobody_waiting(
    dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs count as unfinished then, and a message says that they may be left so."""
    forever = threading.Event()
    monkeypatch.setattr(stack_runs, "ANSWER_S", 0.01)
    monkeypatch.setattr(dg.DagsterInstance, "from_config", lambda _: forever.wait())
    messages: list[str] = []
    runs = DagsterRuns(dagster_home, messages.append)
    assert not runs.are_finished()
    runs.end_unfinished()
    forever.set()
    assert any("did not answer" in message for message in messages)
