"""The session of a run, as the Dagster resource that its ops share.

Owns how long the session stays open: from the op that loads the releases to the end of the run, in
one process. The ops are steps of the run, so that Dagster's UI shows how long each took.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg
from pydantic import Field, PrivateAttr

from lalafo_assets.session.session_run import ReportPolicy, SessionRun
from resources.sessions.live import SessionParts


class SessionResource(dg.ConfigurableResource["SessionResource"]):
    """How one session run works."""

    idle_s: float | None = Field(
        default=None,
        description="End the run after this many seconds without an event. Overrides the setting.",
    )
    report_every_s: float = Field(
        default=10.0,
        description="Seconds between reports to Dagster for one session with one task. With more "
        "sessions or tasks each session reports less often, so that the event log does not grow "
        "faster.",
    )
    pictures_every_s: float = Field(
        default=600.0,
        description="Seconds between two drawings of the pictures by one session, with which the "
        "days are materialized and checked; with more sessions each draws less often.",
    )
    _stack: ExitStack = PrivateAttr(default_factory=ExitStack)
    _run: SessionRun | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["SessionResource"]:
        """Close everything at the end of the run, also of a failed or cancelled one."""
        with self._stack:
            yield self

    @property
    def stack(self) -> ExitStack:
        """Closed at the end of the run."""
        return self._stack

    def open(self, context: dg.OpExecutionContext, parts: SessionParts) -> SessionRun:
        """Create the run's session; it reports by the context's op."""
        policy = ReportPolicy(self.idle_s, self.report_every_s, self.pictures_every_s)
        self._run = SessionRun(context, policy, parts, self._stack)
        return self._run

    def running(self, context: dg.OpExecutionContext) -> SessionRun | None:
        """The run's session, reporting by this op from now on; None if a signal came before it."""
        if self._run is not None:
            self._run.context = context
        return self._run
