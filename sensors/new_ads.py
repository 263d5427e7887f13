"""The sensor `new_ads`: sees that events wait on the topic, and asks for a session run.

It is off the latency path: a living session needs no sensor. What it decides is
`sensors/session_plan.py`; here are its eyes and hands.
"""

import time
from collections.abc import Iterator

import dagster as dg

from lalafo_assets.partitions import key_of, today
from ops.asset_names import SESSION_JOB, SESSION_TAG
from ops.errors import LalafoError
from resources.dagster_resources import AdStreamResource, DatabaseResource
from resources.leases import read_leases, read_offsets
from sensors.session_plan import Plan, SessionRun, StreamState, plan_session, wait_s

INTERVAL_S = 5
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
NOT_LAUNCHED = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}


def new_ads(session: dg.JobDefinition) -> dg.SensorDefinition:
    """The sensor, for the job that it starts."""

    @dg.sensor(
        job=session,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "Compares the topic's end offsets with the committed ones. Where events wait on a "
            "partition that no living session holds, it asks for a session run; runs whose lease "
            "is dead it fails."
        ),
    )
    def new_ads(
        context: dg.SensorEvaluationContext,
        database: DatabaseResource,
        ad_stream: AdStreamResource,
    ) -> dg.SkipReason | dg.RunRequest:
        try:
            state = read_state(database, ad_stream)
        except LalafoError as error:
            # An outage is waited out: the next tick looks again.
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        plan = plan_session(state, list(_unfinished(context.instance)))
        _fail_dead(context, plan)
        if plan.request is None:
            return dg.SkipReason(plan.why)
        return _request(context, plan.request, plan.why)

    return new_ads


def read_state(database: DatabaseResource, ad_stream: AdStreamResource) -> StreamState:
    """The topic, the committed offsets and the leases, now.

    Raises:
        RetryableError: Kafka or PostgreSQL is away.
        ConfigurationError: a setting is missing, or the topic is.
    """
    held = database.open()
    try:
        with ad_stream.open() as stream:
            stream_id, topic = stream.stream_id(), stream.config.ads_topic
            # Offsets before ends: a session that commits in between only makes the lag smaller.
            leases = read_leases(held, stream_id, topic)
            committed = read_offsets(held, stream_id, topic)
            return StreamState(
                stream_id=stream_id,
                starts=stream.beginning_offsets(),
                ends=stream.end_offsets(),
                committed=committed,
                leases=leases,
            )
    finally:
        held.close()


def _unfinished(instance: dg.DagsterInstance) -> Iterator[SessionRun]:
    filters = dg.RunsFilter(job_name=SESSION_JOB, statuses=UNFINISHED)
    now = time.time()
    for record in instance.get_run_records(filters):
        run = record.dagster_run
        since = record.start_time
        launched_at = record.create_timestamp.timestamp() if since is None else since
        yield SessionRun(run.run_id, now - launched_at, run.status in NOT_LAUNCHED)


def _fail_dead(context: dg.SensorEvaluationContext, plan: Plan) -> None:
    for dead, why in plan.dead:
        run = context.instance.get_run_by_id(dead.run_id)
        if run is not None and not run.is_finished:
            context.log.warning(f"failing run {dead.run_id}: {why}")
            context.instance.report_run_failed(run, message=f"Failed by the sensor: {why}.")


def _request(
    context: dg.SensorEvaluationContext, name: str, why: str
) -> dg.SkipReason | dg.RunRequest:
    """The run, under a key that no earlier attempt had; or the wait that is still due."""
    earlier = context.instance.get_run_records(
        dg.RunsFilter(job_name=SESSION_JOB, tags={SESSION_TAG: name})
    )
    ended = [record.end_time or record.update_timestamp.timestamp() for record in earlier]
    due_s = wait_s(len(earlier)) - (time.time() - max(ended, default=0.0))
    if due_s > 0:
        return dg.SkipReason(
            f"{why}; {len(earlier)} runs ended without progress, the next in {due_s:.0f} s"
        )
    context.log.info(why)
    return dg.RunRequest(
        run_key=f"{name}/{len(earlier)}",
        partition_key=key_of(today()),
        tags={SESSION_TAG: name, "lalafo/attempt": str(len(earlier) + 1)},
    )
