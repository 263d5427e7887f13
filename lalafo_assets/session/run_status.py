"""Watches the status that Dagster has of a session's own run.

Terminating a run sets its status, and then asks the code server that started it to send a signal. A
code server that was replaced since does not know the run, and sends none. A run that was marked as
canceled or failed while it works gets none either. Does not depend on what the run does.
"""

import threading

import dagster as dg
import structlog

from resources.processes.repeating import RepeatingThread

LOOK_EVERY_S = 3.0
JOIN_WITHIN_S = 1.0

ENDED = frozenset(
    {
        dg.DagsterRunStatus.CANCELING,
        dg.DagsterRunStatus.CANCELED,
        dg.DagsterRunStatus.FAILURE,
    }
)
"""A run that finds itself in one of these has to end, and not as a success."""

log = structlog.get_logger()


class RunStatus(RepeatingThread):
    """A thread that looks at a run's status every few seconds; a context manager.

    While Dagster's storage is unavailable the run goes on.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._ended = threading.Event()
        # The storage may not answer.
        super().__init__("run-status", every_s=LOOK_EVERY_S, join_s=JOIN_WITHIN_S)

    @property
    def ended(self) -> bool:
        """Whether the run was terminated, or marked as canceled or failed."""
        return self._ended.is_set()

    def step(self) -> bool:
        """Look once; True if the run has ended in Dagster."""
        try:
            run = self._instance.get_run_by_id(self._run_id)
        except Exception as error:  # noqa: BLE001 - any error that the storage raises
            log.warning("session.run_status_unknown", error=type(error).__name__)
            return False
        if run is None or run.status not in ENDED:
            return False
        log.warning("session.run_ended_in_dagster", status=run.status.value)
        self._ended.set()
        return True
