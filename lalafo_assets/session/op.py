"""The session as a Dagster op, and its reports to Dagster while it runs.

Owns what a session run shows: its role and partitions in the log and in tags, materializations of
each asset and day about every ten seconds, pictures every ten minutes, and checks at the end. The
loop is in `ops/session/pipeline.py`; `resources/sessions/live.py` assembles its parts.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

import dagster as dg
import psutil
import structlog
from dagster._core.errors import DagsterExecutionInterruptedError
from pydantic import Field

from lalafo_assets.assets.checks import check_days
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.session.alarms import Alarms
from lalafo_assets.session.pictures import PictureProcess, read_picture
from lalafo_assets.session.reports import (
    EMBEDDINGS_EVERY,
    embedding_events,
    picture_events,
    report_events,
    report_interval_s,
    summary,
)
from lalafo_assets.session.run_status import ENDED, RunStatus
from ops.session.ports import SessionPolicy
from ops.session.tally import Tally
from resources.dagster.names import (
    CODE_TAG,
    FIRST_DAY,
    POOL_STREAM,
    ROLE_TAG,
)
from resources.dagster.resources import (
    AdStreamResource,
    DatabaseResource,
    ModelsResource,
    PhotosResource,
)
from resources.sessions.ad_log import use_json_lines
from resources.sessions.live import LiveSession, SessionParts, run_session, session_policy
from resources.settings import load_settings
from resources.tracing.session import session_tracing
from sensors.failures import one_line, record_failure

QUIET_S = 5.0
"""Pause in reports after a call to Dagster's storage failed: each call retries for seconds."""

log = structlog.get_logger()

_SWITCH_S = 0.001
"""Switch interval of Python's threads; with the default, a stage may wait 5 ms for a reporter."""


class DrainConfig(dg.Config):
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
        default=600.0, description="Seconds between drawings of the pictures."
    )


@dg.op(
    pool=POOL_STREAM,
    description=(
        "Loads the active releases, then consumes its share of the Kafka partitions or stands by. "
        "It scores every event on arrival and reports the assets of each day that it wrote to. "
        "Rows and offsets are committed in one transaction. After LALAFO_SESSION_MINUTES it hands "
        "over to a successor."
    ),
    tags={"dagster/compute_kind": "kafka"},
)
def drain_ads(
    context: dg.OpExecutionContext,
    config: DrainConfig,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
    photos: PhotosResource,
    models: ModelsResource,
) -> None:
    """Run one session to its end."""
    with (
        _ends_by_signal(context),
        plain_failures(),
        _error_recorded(context),
        closing(database.open()) as db,
    ):
        settings = models.settings()
        code_version = context.run.tags.get(CODE_TAG)
        if code_version is not None:
            # The sensor started the run for this version. The code server may have loaded its
            # files before they changed, so the version that it sees may be another one.
            settings = settings.model_copy(update={"code_version": code_version})
        with ad_stream.open() as stream, session_tracing(settings) as tracing:
            parts = SessionParts(
                settings=settings,
                database=db,
                stream=stream,
                store=photos.store(),
                releases=models.store(),
                fetcher=photos.fetcher,
                embedder=models.embedder(),
                first_day=FIRST_DAY,
                tracing=tracing,
                end_process=os._exit,
            )
            policy = session_policy(settings)
            if config.idle_s is not None:
                policy = replace(policy, idle_s=config.idle_s)
            _SessionRun(context, config, parts).drain(
                replace(
                    policy,
                    report_every_s=report_interval_s(
                        config.report_every_s, sessions=settings.sessions
                    ),
                )
            )


class _SessionRun:
    """One session's Dagster run, and its reports."""

    def __init__(
        self, context: dg.OpExecutionContext, config: DrainConfig, parts: SessionParts
    ) -> None:
        self.context = context
        self.config = config
        self.parts = parts
        self.total = Tally()
        self._live: LiveSession | None = None
        self._started = time.monotonic()
        self._role = ""
        self._pictures = PictureProcess(
            database_url=parts.database.conninfo.text("lalafo-pictures"),
            store_url=parts.settings.resolved_store_url,
            run_id=context.run_id,
        )
        self._alarms = Alarms(
            parts.settings.failure_webhook_url, run_id=context.run_id, job=context.job_name
        )
        self._pictures_due = 0.0  # with the first report
        self._pictures_embedded = False
        self._reported_at = time.monotonic()
        self._reports = 0
        self._rest = Tally()  # since the last report by `embedding_events`
        self._quiet_until = 0.0
        self._waiting: set[str] = set()
        self._interrupted = False
        self._status = RunStatus(context.instance, context.run_id)

    def drain(self, policy: SessionPolicy) -> None:
        """Warm up, run the session to its end, and report the result."""
        use_json_lines()
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self.context.log.info("warming up: loading the active releases")
        try:
            with self._status:
                run_session(
                    self.parts,
                    run_id=self.context.run_id,
                    report=self._report,
                    policy=policy,
                    opened=self._opened,
                    keep_going=self._keep_going,
                )
            if self._status.ended:  # Dagster then keeps the status, or makes it CANCELED
                raise DagsterExecutionInterruptedError
        except DagsterExecutionInterruptedError:
            self._interrupted = True  # the process that sent the signal waits
            raise
        finally:
            self._live = None
            sys.setswitchinterval(switch_s)
            if self._interrupted:
                self._pictures.stop()
            self._conclude()

    def _opened(self, live: LiveSession) -> None:
        self._live = live
        with self._reporting():
            self._log_warm(live, time.monotonic() - self._started)

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

    def _keep_going(self) -> bool:
        """Report changes, and return whether the session shall continue.

        The session's main thread calls this many times a second.
        """
        if self._live is not None and time.monotonic() >= self._quiet_until:
            with self._reporting():
                self._report_role(self._live)
                self._show_pictures(embed=not self._pictures_embedded)
        if self._status.ended:
            return False
        # When the stack on this machine was killed, its session must end too: the next stack's
        # session continues from the last commit.
        stack_pid = self.parts.settings.stack_pid
        return stack_pid == 0 or psutil.pid_exists(stack_pid)

    def _report_role(self, live: LiveSession) -> None:
        snapshot = live.session.snapshot()
        partitions = snapshot.partitions
        role = f"live: {_named(partitions)}" if partitions else "standby"
        if live.membership.left:
            role = "leaving"
        if role != self._role:
            epochs = ", ".join(f"{p} (epoch {e})" for p, e in sorted(partitions.items()))
            messages = {
                "standby": "standing by: releases are loaded, no partition is assigned",
                "leaving": "handing over to a successor, then ending",
            }
            self.context.log.info(messages.get(role, f"consuming partitions {epochs}"))
            self.context.instance.add_run_tags(self.context.run_id, {ROLE_TAG: role})
            self._role = role
        waiting = set(snapshot.waiting_for_s)
        for stage in waiting - self._waiting:
            self.context.log.warning(f"{stage}: unavailable, retrying with backoff")
        for stage in self._waiting - waiting:
            self.context.log.info(f"{stage}: available again")
        self._waiting = waiting

    def _report(self, tally: Tally) -> None:
        self.total.merge(tally)
        self._rest.merge(tally)
        alarm = self._alarms.report(tally)
        with self._reporting():
            if alarm is not None:
                self.context.log.error(alarm)
            if tally.unaccounted != 0:
                self.context.log.error(f"{tally.unaccounted} of these events have no outcome")
            self.context.log.info(summary(tally))
            now, since = time.monotonic(), self._reported_at
            self._reported_at = now
            for event in report_events(tally, over_s=now - since):
                self.context.log_event(event)
            if self._reports % EMBEDDINGS_EVERY == 0:
                self._report_embeddings()
            self._reports += 1
        if time.monotonic() >= self._pictures_due:
            self._pictures_due = time.monotonic() + self.config.pictures_every_s
            self._pictures.start(self.total)

    def _report_embeddings(self) -> None:
        for event in embedding_events(self._rest):
            self.context.log_event(event)
        self._rest = Tally()

    def _show_pictures(self, *, embed: bool) -> None:
        """Report the pictures that were drawn since the last call: embedded, or as links."""
        pictures = self._pictures.collect(wait=self._live is None)
        if pictures:
            images = {p.link: read_picture(p) for p in pictures} if embed else {}
            for event in picture_events(pictures, images):
                self.context.log_event(event)
            self._pictures_embedded = True

    def _conclude(self) -> None:
        """Report the session's end; its leases are free by now, so no ad waits for this."""
        self.context.instance.add_run_tags(self.context.run_id, {ROLE_TAG: "ended"})
        if self.total.events == self.total.admitted == 0:
            self.context.log.info("ended: no event was consumed")
            return
        self.context.log.info(f"ended: {summary(self.total)}")
        if self.total.unaccounted != 0:
            raise dg.Failure(
                f"{self.total.admitted} events were admitted, and {self.total.unaccounted} of them "
                "are neither ads nor unchanged nor dead letters: this is a bug"
            )
        self._report_embeddings()
        if self._interrupted:
            return
        self._pictures.collect(wait=True)
        self._pictures.start(self.total)
        self._show_pictures(embed=not self._pictures_embedded)
        for evaluation in check_days(self.parts.database, sorted(self.total.days)):
            self.context.instance.report_runless_asset_event(evaluation)


@contextmanager
def _ends_by_signal(context: dg.OpExecutionContext) -> Iterator[None]:
    """Let the run succeed if a signal ends it, also while it starts: it has handed over.

    An interrupt that Dagster requested makes the run cancelled, and a run that it has marked as
    failed stays so. A signal from elsewhere (an evicted pod, a stopping stack) is a graceful
    shutdown.
    """
    try:
        yield
    except DagsterExecutionInterruptedError:
        run = context.instance.get_run_by_id(context.run_id)
        if run is not None and run.status in ENDED:
            raise
        context.log.info("ended by a signal: the next session continues from the last commit")


@contextmanager
def _error_recorded(context: dg.OpExecutionContext) -> Iterator[None]:
    """Write the error with which a session ends to its row; the sensor would later."""
    try:
        yield
    except Exception as error:
        text = one_line(f"{type(error).__name__}: {error}")
        record_failure(load_settings(), context.run_id, text)
        raise


def _named(partitions: Mapping[int, int]) -> str:
    return ",".join(str(partition) for partition in sorted(partitions))
