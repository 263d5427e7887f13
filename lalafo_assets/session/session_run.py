"""What the run of a session shows in Dagster while it works.

Owns when it reports: where it runs, in tags and metadata; its role and partitions in the log, in a
tag, and as brackets on its step's bar in the run's Gantt chart; observations of each asset and day
about every ten seconds. `day_reports.py` has what is rarer.
"""

import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import dagster as dg
import structlog
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import EngineEventData

from lalafo_assets.session.alarms import Alarms
from lalafo_assets.session.day_reports import DayReports, page_url
from lalafo_assets.session.reports import (
    EMBEDDINGS_EVERY,
    embedding_events,
    report_events,
    report_interval_s,
    summary,
)
from lalafo_assets.session.run_status import RunStatus
from ops.session.tally import Tally
from resources.dagster.names import HOST_TAG, METRICS_TAG, RELEASE_TAG, ROLE_TAG, STREAM_TAG
from resources.inference.engines import described_engines
from resources.processes.child import stack_runs
from resources.sessions.ad_log import use_json_lines
from resources.sessions.live import (
    LiveSession,
    SessionParts,
    Sessions,
    open_sessions,
    run_sessions,
    session_policy,
)

QUIET_S = 5.0
"""Pause in reports after a call to Dagster's storage failed: each call retries for seconds."""

log = structlog.get_logger()

_SWITCH_S = 0.001
"""Switch interval of Python's threads; with the default, a stage may wait 5 ms for a reporter."""


@dataclass(frozen=True, slots=True)
class ReportPolicy:
    """When a session ends for lack of events, and how often it reports; see `SessionResource`."""

    idle_s: float | None
    report_every_s: float
    pictures_every_s: float


class SessionRun:
    """One session's Dagster run, and its reports.

    Args:
        stack: closed at the end of the run.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        policy: ReportPolicy,
        parts: SessionParts,
        stack: ExitStack,
    ) -> None:
        self.context = context
        self.policy = policy
        self.parts = parts
        self.total = Tally()
        settings, run_id = parts.settings, context.run_id
        self._stack = stack
        self._sessions: Sessions | None = None
        self._first: LiveSession | None = None
        self._live: LiveSession | None = None
        self._role = self._release = ""
        self._days = DayReports(
            settings,
            parts.database,
            run_id,
            every_s=policy.pictures_every_s * settings.sessions,
        )
        stack.callback(self._days.stop)
        self._alarms = Alarms(settings.failure_webhook_url, run_id=run_id, job=context.job_name)
        self._reported_at = time.monotonic()
        self._reports = 0
        self._rest = Tally()  # since the last report by `embedding_events`
        self._quiet_until = 0.0
        self._waiting: set[str] = set()
        self._interrupted = False
        self._status = RunStatus(context.instance, run_id)

    def load(self) -> Mapping[str, dg.MetadataValue]:
        """Open the session, and return metadata that say where it runs."""
        use_json_lines()
        started, settings = time.monotonic(), self.parts.settings
        self.context.log.info("warming up: loading the active releases")
        policy, idle_s = session_policy(settings), self.policy.idle_s
        self._sessions = open_sessions(
            self.parts,
            run_id=self.context.run_id,
            report=self._report,
            policy=replace(
                policy,
                idle_s=policy.idle_s if idle_s is None else idle_s,
                report_every_s=report_interval_s(
                    self.policy.report_every_s, sessions=settings.sessions
                ),
            ),
            keep_going=self._keep_going,
        )
        self._stack.callback(self._sessions.close)
        self._first = next(self._sessions)
        self._log_warm(self._first, time.monotonic() - started)
        return self._whereabouts(self._first)

    def drain(self) -> None:
        """Run the session to its end, and report the result."""
        first, self._first = self._first, None
        if first is None or self._sessions is None:
            return  # a signal ended the run while it was loading
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        try:
            with self._status:
                run_sessions(self._sessions, first, opened=self._opened)
            if self._status.ended:  # Dagster then keeps the status, or makes it CANCELED
                raise DagsterExecutionInterruptedError
        except DagsterExecutionInterruptedError:
            self._interrupted = True  # the process that sent the signal waits
            raise
        finally:
            self._live = None
            sys.setswitchinterval(switch_s)
            self._conclude()

    def check_days(self) -> None:
        """Report the session's days as a whole, unless a signal ended it or it wrote to none."""
        if self._interrupted or not self.total.days:
            return
        with self._reporting():  # what can't be reported makes no failure of a session
            self._days.finish(self.context, self.total)

    def _opened(self, live: LiveSession) -> None:
        self._live = live
        self._role = ""

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Log an error of Dagster's storage, and pause reports of role and pictures for QUIET_S.

        The session goes on scoring meanwhile.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - any error that the storage raises
            log.warning("session.dagster_report_failed", error=str(error)[:200])
            self._quiet_until = time.monotonic() + QUIET_S

    def _log_warm(self, live: LiveSession, took_s: float) -> None:
        names = ", ".join(live.session.state.scorer.names)
        served = f"; metrics at {live.metrics_url}" if live.metrics_url else ""
        self.context.log.info(f"warm after {took_s:.1f} s, scoring with {names}{served}")

    def _whereabouts(self, live: LiveSession) -> Mapping[str, dg.MetadataValue]:
        """Tag the run with where the session runs, and return the same as metadata, with links."""
        stream, page = live.membership.config.stream_id, page_url(self.parts.settings)
        tags = {HOST_TAG: socket.gethostname(), STREAM_TAG: stream}
        links = {"page": f"{page}/#/live", "ads": f"{page}/#/ads"} if page else {}
        if live.metrics_url:
            tags[METRICS_TAG] = links["metrics"] = live.metrics_url
        with self._reporting():
            self.context.instance.add_run_tags(self.context.run_id, tags)
        return {
            **{name: dg.MetadataValue.url(url) for name, url in links.items()},
            "releases": dg.MetadataValue.text(", ".join(live.session.state.scorer.names)),
            "engine": dg.MetadataValue.text(
                described_engines(self.parts.settings, live.session.state.scorer.backbones)
            ),
            "stream": dg.MetadataValue.text(f"{live.membership.config.topic} of {stream}"),
            "host": dg.MetadataValue.text(tags[HOST_TAG]),
            "code": dg.MetadataValue.text(live.membership.config.code_version),
        }

    def _keep_going(self) -> bool:
        """Report changes, and return whether the session shall continue.

        The session's main thread calls this many times a second.
        """
        if self._live is not None and time.monotonic() >= self._quiet_until:
            with self._reporting():
                self._report_role(self._live)
                self._days.report(self.context, self.total)
                if self._days.is_due():
                    self._days.draw(self.total)
        if self._status.ended:
            return False
        # The next stack's session continues from the last commit.
        return stack_runs(self.parts.settings.stack_pid)

    def _report_role(self, live: LiveSession) -> None:
        snapshot, names = live.session.snapshot(), live.session.state.scorer.names
        partitions = snapshot.partitions
        role = f"live: {_named(partitions)}" if partitions else "standby"
        if live.membership.left:
            role = "leaving"
        if role != self._role or names[0] != self._release:
            self._release = names[0]
            tags = {ROLE_TAG: role, RELEASE_TAG: names[0]}
            self.context.instance.add_run_tags(self.context.run_id, tags)
        if role != self._role:
            epochs = ", ".join(f"{p} (epoch {e})" for p, e in sorted(partitions.items()))
            messages = {
                "standby": "standing by: releases are loaded, no partition is assigned",
                "leaving": "handing over to a successor, then ending",
            }
            self._mark(messages.get(role, f"consuming partitions {epochs}"), role)
        waiting = set(snapshot.waiting_for_s)
        for stage in waiting - self._waiting:
            self.context.log.warning(f"{stage}: unavailable, retrying with backoff")
        for stage in self._waiting - waiting:
            self.context.log.info(f"{stage}: available again")
        self._waiting = waiting

    def _mark(self, message: str, role: str) -> None:
        """Begin a bracket on the step's bar in the Gantt chart, and end that of the last role."""
        data = EngineEventData(marker_start=role or None, marker_end=self._role or None)
        self.context.instance.report_engine_event(
            message, self.context.run, data, step_key=self.context.op.name
        )
        self._role = role

    def _report(self, tally: Tally) -> None:
        self.total.merge(tally)
        self._rest.merge(tally)
        self._days.note(tally)
        alarm = self._alarms.report(tally)
        with self._reporting():
            if alarm is not None:
                self.context.log.error(alarm)
            if tally.unaccounted != 0:
                self.context.log.error(f"{tally.unaccounted} of these events have no outcome")
            self.context.log.info(summary(tally))
            now, since = time.monotonic(), self._reported_at
            self._reported_at = now
            pictures = self._days.pictures
            for event in report_events(tally, over_s=now - since, pictures=pictures):
                self.context.log_event(event)
            if self._reports % EMBEDDINGS_EVERY == 0:
                self._report_embeddings()
            self._reports += 1

    def _report_embeddings(self) -> None:
        for event in embedding_events(self._rest, pictures=self._days.pictures):
            self.context.log_event(event)
        self._rest = Tally()

    def _conclude(self) -> None:
        """Report the session's end; its leases are free by now, so no ad waits for this."""
        self.context.instance.add_run_tags(self.context.run_id, {ROLE_TAG: "ended"})
        if self.total.events == self.total.admitted == 0:
            self.context.log.info("ended: no event was consumed")
            return
        self._mark(f"ended: {summary(self.total)}", "")
        if self.total.unaccounted != 0:
            raise dg.Failure(
                f"{self.total.admitted} events were admitted, and {self.total.unaccounted} of them "
                "are neither ads nor unchanged nor dead letters: this is a bug"
            )
        self._report_embeddings()


def _named(partitions: Mapping[int, int]) -> str:
    return ",".join(str(partition) for partition in sorted(partitions))
