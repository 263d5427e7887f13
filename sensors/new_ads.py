"""The sensor `new_ads`: keeps as many warm sessions on the topic as the settings say.

It is not on the latency path: a running session does not need the sensor. The decisions are in
`sensors/session_plan.py`; this module reads the inputs and acts on the plan.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import dagster as dg

from ops.errors import ConfigurationError, LalafoError, RetryableError
from resources.dagster.names import CODE_TAG, ROLE_TAG, SESSION_JOB
from resources.dagster.partitions import key_of, today
from resources.dagster.resources import AdStreamResource, DatabaseResource
from resources.kafka.topics import AdStream
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.sessions.code_version import code_version
from resources.sessions.group.members import lead_s, read_sessions
from resources.sessions.offsets import read_offsets
from resources.sessions.reading.incidents import is_recorded
from resources.sessions.reading.unreadable import subject_of
from resources.settings import load_settings
from sensors.session_plan import (
    FinishedRun,
    Plan,
    SessionTarget,
    StreamLag,
    UnfinishedRun,
    plan_sessions,
)

INTERVAL_S = 5
RECENT_RUNS = 8
READABLE_WITHIN_S = 5.0
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
NOT_LAUNCHED = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}


def new_ads(session: dg.JobDefinition) -> dg.SensorDefinition:
    """Create the sensor for the session job."""
    stream_ids = StreamIds()

    @dg.sensor(
        job=session,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Keeps LALAFO_SESSIONS warm sessions on the topic. Requests a run if one is missing, "
            "will soon hand over, or runs older code; with LALAFO_IDLE_MINUTES only if events are "
            "waiting. Sessions that read another stream do not count. Starts none before a release "
            "is live. Fails runs whose session is dead."
        ),
    )
    def new_ads(
        context: dg.SensorEvaluationContext,
        database: DatabaseResource,
        ad_stream: AdStreamResource,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            plan = _plan(context.instance, database, ad_stream, stream_ids)
        except LalafoError as error:
            # During an outage the tick is skipped; the next one tries again.
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        fail_dead(context, plan)
        if plan.start == 0:
            return dg.SkipReason(plan.why)
        context.log.info(f"starting {plan.start}: {plan.why}")
        return dg.SensorResult(
            run_requests=list(
                run_requests(context.instance, plan, SESSION_JOB, partition_key=key_of(today()))
            )
        )

    return new_ads


class StreamIds:
    """The id of the stream that sessions should read, without asking Kafka at every tick.

    Connecting takes longer than the rest of a tick. The last answer is enough while every session
    reads that stream; where one reads another, Kafka is asked: the topic may have been created
    again, and the sessions may have followed it.
    """

    def __init__(self) -> None:
        self._last: str | None = None

    def current(self, ad_stream: AdStreamResource, read: Collection[str]) -> str | None:
        """Return the id; None if Kafka does not answer, so that its outage starts no session.

        Args:
            read: the ids of the streams that sessions read.
        """
        configured = load_settings().stream_id
        if configured != "":
            return configured
        if self._last is None or set(read) - {self._last}:
            try:
                with ad_stream.open() as stream:
                    self._last = stream.stream_id()
            except RetryableError:
                return None
        return self._last


def _plan(
    instance: dg.DagsterInstance,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
    stream_ids: StreamIds,
) -> Plan:
    """Plan the tick.

    Reads from Kafka only if a session may have to start. None does before a release is live: it
    could score nothing, and would fail.

    Raises:
        RetryableError: Kafka or PostgreSQL is unavailable.
        ConfigurationError: a setting or the topic is missing.
    """
    target, topic = _target(), load_settings().ads_topic
    with closing(database.open()) as opened:
        sessions = read_sessions(opened, topic)
        reading = {session.stream_id for session in sessions.values() if session.alive}
        if reading:
            target = replace(target, stream_id=stream_ids.current(ad_stream, reading))
        unfinished = list(unfinished_runs(instance, SESSION_JOB))
        finished = list(finished_runs(instance, SESSION_JOB))
        plan = plan_sessions(target, None, sessions, unfinished, finished)
        if plan.start == 0:
            return plan
        try:
            read_active_releases(opened)
        except ConfigurationError as error:
            return replace(plan, start=0, why=str(error))
        lag = read_lag(opened, ad_stream, only_readable=target.idle)
        return plan_sessions(target, lag, sessions, unfinished, finished)


def read_lag(
    database: Database, ad_stream: AdStreamResource, *, only_readable: bool = False
) -> StreamLag:
    """The topic's end offsets and the committed offsets, now.

    Args:
        only_readable: count nothing where no session would read an event: behind the last event may
            be aborted ones, a transaction's marker, or records that can't be decoded and are
            recorded as an incident.
    """
    with ad_stream.open() as stream:
        # Committed offsets first: one that is committed later could lie beyond the end offset.
        stream_id = stream.stream_id()
        committed = read_offsets(database, stream_id, stream.config.ads_topic)
        bounds = stream.bounds()
        lag = StreamLag(
            starts={partition: first for partition, (first, _) in bounds.items()},
            ends={partition: end for partition, (_, end) in bounds.items()},
            committed=committed,
        )
        if not only_readable or lag.events == 0:
            return lag
        return replace(lag, committed=_past_no_events(database, stream, stream_id, lag))


def _past_no_events(
    database: Database, stream: AdStream, stream_id: str, lag: StreamLag
) -> Mapping[int, int]:
    """Read what waits until the first event; return the positions if there is none."""
    positions = lag.waiting
    if not all(lag.starts[p] <= offset <= lag.ends[p] for p, offset in positions.items()):
        return lag.committed  # a session resolves it
    skips = load_settings().unreadable_batch == "skip"
    with stream.consumer(isolates=True) as consumer:
        consumer.assign(positions)
        deadline = time.monotonic() + READABLE_WITHIN_S
        while time.monotonic() < deadline:
            if consumer.poll(max_records=1, timeout_s=0.1):
                return lag.committed
            found = consumer.positions()
            for partition, stopped in consumer.stopped().items():
                if not skips and is_recorded(database, subject_of(stopped.batch, stream_id)):
                    # A session would start, stop at it again, and end for lack of events.
                    found[partition] = lag.ends[partition]
            if all(offset >= lag.ends[p] for p, offset in found.items()):
                return {**lag.committed, **found}
    return lag.committed


def _target() -> SessionTarget:
    settings = load_settings()
    return SessionTarget(
        sessions=settings.sessions,
        lead_s=lead_s(settings.session_minutes * 60),
        code_version=code_version(settings),
        idle=settings.idle_minutes > 0,
        start_s=settings.run_start_s,
    )


def unfinished_runs(instance: dg.DagsterInstance, job: str) -> Iterator[UnfinishedRun]:
    """The runs of a job that are unfinished in Dagster."""
    filters = dg.RunsFilter(job_name=job, statuses=UNFINISHED)
    now = time.time()
    for record in instance.get_run_records(filters):
        run = record.dagster_run
        since = record.start_time
        launched_at = record.create_timestamp.timestamp() if since is None else since
        yield UnfinishedRun(run.run_id, now - launched_at, run.status in NOT_LAUNCHED)


def finished_runs(instance: dg.DagsterInstance, job: str) -> Iterator[FinishedRun]:
    """Those of a job's last runs that have ended, the latest first."""
    now = time.time()
    for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=RECENT_RUNS):
        run = record.dagster_run
        if run.is_finished:
            ended = record.end_time or record.update_timestamp.timestamp()
            began = record.start_time or record.create_timestamp.timestamp()
            yield FinishedRun(
                failed=run.status is dg.DagsterRunStatus.FAILURE,
                lasted_s=ended - began,
                ended_ago_s=now - ended,
            )


def fail_dead(context: dg.SensorEvaluationContext, plan: Plan) -> None:
    """Fail the runs that the plan names."""
    for dead, why in plan.dead:
        run = context.instance.get_run_by_id(dead.run_id)
        if run is not None and not run.is_finished:
            context.log.warning(f"failing run {dead.run_id}: {why}")
            context.instance.report_run_failed(run, message=f"Failed by the sensor: {why}.")
            context.instance.add_run_tags(dead.run_id, {ROLE_TAG: "dead"})


def run_requests(
    instance: dg.DagsterInstance, plan: Plan, job: str, *, partition_key: str | None = None
) -> Iterator[dg.RunRequest]:
    """Run requests with keys from the last run's id: overlapping ticks give the same keys."""
    latest = instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    after = latest[0].dagster_run.run_id if latest else "the first"
    for number in range(plan.start):
        yield dg.RunRequest(
            run_key=f"after {after}, {number}",
            partition_key=partition_key,
            tags={ROLE_TAG: "starting", CODE_TAG: code_version(load_settings())},
        )
