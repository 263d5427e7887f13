"""The runs of a stack's Dagster: which are unfinished, and what they end as when it stops."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.types import ProgressCallback
from resources.sessions.group.members import MemberState

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

ANSWER_S = 3.0
"""A database that does not answer must not keep the stack from stopping."""

ACT_S = 10.0
"""One that has answered gets more time: a run that is left unfinished fails at the next start."""

_RETRIED = "dagster/max_retries"
_STOPPED = "The stack was stopped"


class DagsterRuns:
    """The runs that have a process, or had one.

    Args:
        sessions: reads the sessions by run; it may raise, and may not answer.
    """

    def __init__(
        self,
        dagster_home: Path,
        on_progress: ProgressCallback,
        sessions: Callable[[], Mapping[str, MemberState]] = dict,
    ) -> None:
        self._home = dagster_home
        self._on_progress = on_progress
        self._sessions = sessions
        self._has_answered = threading.Event()

    def are_finished(self) -> bool:
        """Whether every run that has begun has ended; False if the database does not answer."""
        return self._answer(lambda: self._unfinished(lambda *_: None) == 0)

    def cancel_what_has_not_begun(self) -> None:
        """Mark runs that a signal would make failures as being canceled, before they get one.

        A session that has joined its group handles the signal, and its run succeeds. A run that
        Dagster retries fails, so that it is retried. Others do nothing that is lost, and their end
        is no failure that anyone has to look at.
        """
        from dagster import DagsterRunStatus

        joined = self._which(lambda session: session.alive)

        def cancel(instance: "DagsterInstance", run: "DagsterRun") -> None:
            left_alone = run.run_id in joined or _RETRIED in run.tags
            if not left_alone and run.status is not DagsterRunStatus.CANCELING:
                instance.report_run_canceling(run, f"{_STOPPED} before the run had begun its work.")

        self._answer(lambda: self._unfinished(cancel) >= 0)

    def end_unfinished(self) -> None:
        """End the runs whose processes have ended before they could do so.

        A session that has left its group has handed over: its run succeeds. A run that Dagster
        retries fails, so that it is retried once the next stack has started: a re-score continues.
        Every other run is canceled, which is no failure that anyone has to look at.
        """
        from dagster import DagsterRunStatus

        left = self._which(lambda session: session.member.state == "leaving" and not session.failed)

        def end(instance: "DagsterInstance", run: "DagsterRun") -> None:
            canceling = run.status is DagsterRunStatus.CANCELING
            if run.run_id in left and not canceling:
                _report_success(instance, run)
            elif _RETRIED in run.tags and not canceling:
                instance.report_run_failed(run, f"{_STOPPED}; the next one retries the run.")
            else:
                instance.report_run_canceled(run, f"{_STOPPED} before the run had ended.")
            self._on_progress(f"ended run {run.run_id}, which had not ended by itself")

        if not self._answer(lambda: self._unfinished(end) >= 0):
            self._on_progress("Dagster's database did not answer: runs may be left unfinished")

    def _which(self, chosen: Callable[[MemberState], bool]) -> set[str]:
        """The runs whose sessions are chosen; none if the database does not answer."""
        found: set[str] = set()

        def read() -> bool:
            found.update(run for run, session in self._sessions().items() if chosen(session))
            return True

        self._answer(read)
        return found

    def _unfinished(self, act: Callable[..., None]) -> int:
        import dagster as dg

        unfinished = [
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        ]
        with dg.DagsterInstance.from_config(str(self._home)) as instance:
            runs: list[dg.DagsterRun] = list(instance.get_runs(dg.RunsFilter(statuses=unfinished)))
            self._has_answered.set()
            for run in runs:
                act(instance, run)
        return len(runs)

    def _answer(self, ask: Callable[[], bool]) -> bool:
        answers: list[bool] = []
        self._has_answered.clear()

        def run() -> None:
            try:
                answers.append(ask())
            except Exception as error:  # noqa: BLE001 - whatever the storage raises
                first_line = str(error).strip().partition("\n")[0]
                self._on_progress(f"PostgreSQL: {first_line}")
            self._has_answered.set()

        thread = threading.Thread(target=run, name="dagster-runs", daemon=True)
        thread.start()
        if self._has_answered.wait(ANSWER_S):
            thread.join(ACT_S)
        return answers == [True]


def _report_success(instance: "DagsterInstance", run: "DagsterRun") -> None:
    from dagster import DagsterEvent, DagsterEventType

    event = DagsterEvent(
        event_type_value=DagsterEventType.RUN_SUCCESS.value,
        job_name=run.job_name,
        message=f"{_STOPPED}; the session had handed over.",
    )
    instance.report_dagster_event(event, run_id=run.run_id)
