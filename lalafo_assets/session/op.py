"""The session as a Dagster op, and what it tells Dagster while it works.

Decides what a session run shows: in its log and tags who reads what, a materialisation an asset
and day every ten seconds, checks and pictures now and then. The loop is `ops/session/pipeline.py`,
its parts are `resources/sessions/live.py`.
"""

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
from lalafo_assets.session.pictures import PictureProcess, read_picture
from lalafo_assets.session.reports import (
    REST_EVERY,
    picture_events,
    report_events,
    report_interval_s,
    rest_events,
    summary,
)
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
from resources.sessions.live import LiveSession, SessionParts, open_session, session_policy

QUIET_S = 5.0
"""After Dagster's storage failed a call: each costs seconds of its own retries."""

log = structlog.get_logger()

_SWITCH_S = 0.001
"""Python's threads take turns: a stage must not wait 5 ms for one that reports."""


class DrainConfig(dg.Config):
    """How one session run works."""

    idle_s: float | None = Field(
        default=None,
        description="Ends the run after so long without an event; overrides the setting.",
    )
    report_every_s: float = Field(
        default=10.0,
        description="Between reports to Dagster, of one session with one task; more report less "
        "often each, so that the event log grows no faster.",
    )
    pictures_every_s: float = Field(default=600.0, description="Between pictures, as files.")


@dg.op(
    pool=POOL_STREAM,
    description=(
        "Warms up, shares the Kafka partitions with the other sessions or stands by, scores every "
        "event as it comes, and reports the assets of each day that it wrote to. Rows and offsets "
        "commit together. It hands over to a successor after LALAFO_SESSION_MINUTES."
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
    with plain_failures(), closing(database.open()) as held:
        settings = models.settings()
        started_for = context.run.tags.get(CODE_TAG)
        if started_for is not None:
            # The code server may have loaded its files before they changed under this run.
            settings = settings.model_copy(update={"code_version": started_for})
        with ad_stream.open() as stream:
            parts = SessionParts(
                settings=settings,
                database=held,
                stream=stream,
                store=photos.store(),
                releases=models.store(),
                fetcher=photos.fetcher,
                embedder=models.embedder(),
                first_day=FIRST_DAY,
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
    """One session's Dagster run: what it says, and when."""

    def __init__(
        self, context: dg.OpExecutionContext, config: DrainConfig, parts: SessionParts
    ) -> None:
        self.context = context
        self.config = config
        self.parts = parts
        self.total = Tally()
        self._live: LiveSession | None = None
        self._role = ""
        self._pictures = PictureProcess(
            database_url=parts.database.url.render_as_string(hide_password=False),
            store_url=parts.settings.resolved_store_url,
            run_id=context.run_id,
        )
        self._pictures_due = 0.0  # with the first report
        self._shown = False
        self._told_at = time.monotonic()
        self._reports = 0
        self._rest = Tally()  # of what only some reports tell
        self._quiet_until = 0.0
        self._waiting: set[str] = set()

    def drain(self, policy: SessionPolicy) -> None:
        """Warm up, work, and tell what was done."""
        use_json_lines()
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        self.context.log.info("warming up: loading the releases in force")
        started = time.monotonic()
        try:
            with open_session(
                self.parts,
                run_id=self.context.run_id,
                report=self._report,
                policy=policy,
                keep_going=self._keep_going,
            ) as live:
                self._live = live
                with self._reporting():
                    self._log_warm(live, time.monotonic() - started)
                try:
                    live.session.run()
                except DagsterExecutionInterruptedError:
                    # Asked for in Dagster, it is a cancelled run; a signal from elsewhere (a pod
                    # that moves, a stack that stops) is a polite end.
                    if self._is_cancelled():
                        raise
                finally:
                    self._live = None
        finally:
            sys.setswitchinterval(switch_s)
            self._conclude()

    def _is_cancelled(self) -> bool:
        run = self.context.instance.get_run_by_id(self.context.run_id)
        return run is not None and run.status is dg.DagsterRunStatus.CANCELING

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Dagster's storage may be away: then it is not told, and the ads go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever its storage raises
            log.warning("session.dagster_report_failed", error=str(error)[:200])
            self._quiet_until = time.monotonic() + QUIET_S

    def _log_warm(self, live: LiveSession, took_s: float) -> None:
        names = ", ".join(live.session.state.scorer.names)
        served = f"; metrics at {live.metrics_url}" if live.metrics_url else ""
        self.context.log.info(f"warm after {took_s:.1f} s, scoring with {names}{served}")

    def _keep_going(self) -> bool:
        """Called many times a second by the session's main thread: also looks for news."""
        if self._live is not None and time.monotonic() >= self._quiet_until:
            with self._reporting():
                self._report_role(self._live)
                self._show_pictures(whole=not self._shown)
        # A stack on one machine that was killed leaves nothing behind: its session ends, and the
        # next stack's goes on from the last commit.
        stack_pid = self.parts.settings.stack_pid
        return stack_pid == 0 or psutil.pid_exists(stack_pid)

    def _report_role(self, live: LiveSession) -> None:
        snapshot = live.session.snapshot()
        partitions = snapshot.partitions
        role = f"live: {_named(partitions)}" if partitions else "standby"
        if live.membership.left:
            role = "leaving"
        if role != self._role:
            epochs = ", ".join(f"{p} under epoch {e}" for p, e in sorted(partitions.items()))
            message = {"standby": "standing by, warm", "leaving": "handing over, then ending"}
            self.context.log.info(message.get(role, f"reading partitions {epochs}"))
            self.context.instance.add_run_tags(self.context.run_id, {ROLE_TAG: role})
            self._role = role
        away = set(snapshot.waiting_for_s)
        for what in away - self._waiting:
            self.context.log.warning(f"{what}: away, waiting with back-off")
        for what in self._waiting - away:
            self.context.log.info(f"{what}: back")
        self._waiting = away

    def _report(self, tally: Tally) -> None:
        self.total.merge(tally)
        self._rest.merge(tally)
        with self._reporting():
            self.context.log.info(summary(tally))
            now, since = time.monotonic(), self._told_at
            self._told_at = now
            for event in report_events(tally, over_s=now - since):
                self.context.log_event(event)
            if self._reports % REST_EVERY == 0:
                self._report_rest()
            self._reports += 1
        if time.monotonic() >= self._pictures_due:
            self._pictures_due = time.monotonic() + self.config.pictures_every_s
            self._pictures.start(self.total)

    def _report_rest(self) -> None:
        for event in rest_events(self._rest):
            self.context.log_event(event)
        self._rest = Tally()

    def _show_pictures(self, *, whole: bool) -> None:
        """Tell Dagster of pictures that were drawn meanwhile: whole, or as links."""
        pictures = self._pictures.collect(wait=self._live is None)
        if pictures:
            images = {p.link: read_picture(p) for p in pictures} if whole else {}
            for event in picture_events(pictures, images):
                self.context.log_event(event)
            self._shown = True

    def _conclude(self) -> None:
        """The session's end, told once the leases are free: nothing here keeps an ad waiting."""
        self.context.instance.add_run_tags(self.context.run_id, {ROLE_TAG: "ended"})
        if self.total.events == 0:
            self.context.log.info("ended; no event came while it was live")
            return
        self.context.log.info(f"ended: {summary(self.total)}")
        if self.total.unaccounted != 0:
            raise dg.Failure(
                f"{self.total.unaccounted} events came in and are nowhere: this is a bug"
            )
        self._report_rest()
        self._pictures.collect(wait=True)
        self._pictures.start(self.total)
        self._show_pictures(whole=not self._shown)
        for evaluation in check_days(self.parts.database, sorted(self.total.days)):
            self.context.instance.report_runless_asset_event(evaluation)


def _named(partitions: Mapping[int, int]) -> str:
    return ",".join(str(partition) for partition in sorted(partitions))
