"""The runs of a stack's Dagster: which are unfinished, and what they end as when it stops."""

import threading
from collections.abc import Callable
from pathlib import Path

from ops.types import ProgressCallback

ANSWER_S = 2.0
"""A database that does not answer must not keep the stack from stopping."""

_RETRIED = "dagster/max_retries"
_STOPPED = "The stack was stopped"


class DagsterRuns:
    """The runs that have a process, or had one."""

    def __init__(self, dagster_home: Path, on_progress: ProgressCallback) -> None:
        self._home = dagster_home
        self._on_progress = on_progress

    def are_finished(self) -> bool:
        """Whether every run that has begun has ended; False if the database does not answer."""
        return self._answer(lambda: self._unfinished(lambda *_: None) == 0)

    def end_unfinished(self) -> None:
        """End the runs whose processes have ended before they could do so.

        A run that Dagster retries fails, so that it is retried once the next stack has started: a
        re-score continues. Every other run is canceled, which is no failure that anyone has to look
        at.
        """
        from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

        def end(instance: DagsterInstance, run: DagsterRun) -> None:
            if _RETRIED in run.tags and run.status is not DagsterRunStatus.CANCELING:
                instance.report_run_failed(run, f"{_STOPPED}; the next one retries the run.")
            else:
                instance.report_run_canceled(run, f"{_STOPPED} before the run had ended.")
            self._on_progress(f"ended run {run.run_id}, which had not ended by itself")

        if not self._answer(lambda: self._unfinished(end) >= 0):
            self._on_progress("Dagster's database did not answer: runs may be left unfinished")

    def _unfinished(self, act: Callable[..., None]) -> int:
        import dagster as dg

        unfinished = [
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        ]
        with dg.DagsterInstance.from_config(str(self._home)) as instance:
            runs: list[dg.DagsterRun] = list(instance.get_runs(dg.RunsFilter(statuses=unfinished)))
            for run in runs:
                act(instance, run)
        return len(runs)

    def _answer(self, ask: Callable[[], bool]) -> bool:
        answers: list[bool] = []

        def run() -> None:
            try:
                answers.append(ask())
            except Exception as error:  # noqa: BLE001 - whatever Dagster's storage raises
                first_line = str(error).strip().partition("\n")[0]
                self._on_progress(f"Dagster's database: {first_line}")

        thread = threading.Thread(target=run, name="dagster-runs", daemon=True)
        thread.start()
        thread.join(ANSWER_S)
        return answers == [True]
