"""Watches the status that Dagster has of a session's own run.

Terminating a run sets its status, and then asks the code server that started it to send a signal. A
code server that was replaced since does not know the run, and sends none. A run that was marked as
canceled or failed while it works gets none either. Does not depend on what the run does.
"""

import threading
from types import TracebackType
from typing import Self

import dagster as dg
import structlog

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


class RunStatus:
    """A thread that looks at a run's status every few seconds; a context manager.

    While Dagster's storage is unavailable the run goes on.
    """

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._ended = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="run-status", daemon=True)

    @property
    def ended(self) -> bool:
        """Whether the run was terminated, or marked as canceled or failed."""
        return self._ended.is_set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join(JOIN_WITHIN_S)  # the storage may not answer

    def _run(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            try:
                run = self._instance.get_run_by_id(self._run_id)
            except Exception as error:  # noqa: BLE001 - any error that the storage raises
                log.warning("session.run_status_unknown", error=type(error).__name__)
                continue
            if run is not None and run.status in ENDED:
                log.warning("session.run_ended_in_dagster", status=run.status.value)
                self._ended.set()
                return
