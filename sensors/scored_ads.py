"""The sensor `scored_ads`: keeps an indexer alive, as `new_ads` does with sessions.

It is not on the path of an ad: a running indexer does not need it. The plan is that of sessions.
"""

from contextlib import closing

import dagster as dg

from ops.errors import LalafoError
from resources.changes.lease import WorkerLease
from resources.dagster.names import INDEX_JOB
from resources.dagster.resources import DatabaseResource
from resources.sessions.code_version import code_version
from resources.sessions.group.members import lead_s, read_sessions
from resources.settings import load_settings
from resources.vector_search.ad_vectors import LEASE
from sensors.new_ads import INTERVAL_S, fail_dead, finished_runs, run_requests, unfinished_runs
from sensors.session_plan import Plan, SessionTarget, plan_sessions


def scored_ads(job: dg.JobDefinition) -> dg.SensorDefinition:
    """Create the sensor for the job `index_vectors`."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            "With LALAFO_SIMILAR_ADS, keeps one indexer: it requests a run if there is none, or if "
            "it will soon hand over or runs older code. Fails runs whose indexer is dead."
        ),
    )
    def scored_ads(
        context: dg.SensorEvaluationContext, database: DatabaseResource
    ) -> dg.SensorResult | dg.SkipReason:
        if not load_settings().similar_ads:
            return dg.SkipReason("LALAFO_SIMILAR_ADS is false")
        return keep_worker(context, database, LEASE, INDEX_JOB)

    return scored_ads


def keep_worker(
    context: dg.SensorEvaluationContext, database: DatabaseResource, lease: WorkerLease, job: str
) -> dg.SensorResult | dg.SkipReason:
    """Request a run of the job unless one fresh worker is alive; fail those that are dead."""
    try:
        plan = _plan(context.instance, database, lease, job)
    except LalafoError as error:
        context.log.warning(str(error))
        return dg.SkipReason(str(error))
    fail_dead(context, plan)
    if plan.start == 0:
        return dg.SkipReason(plan.why)
    context.log.info(f"starting {plan.start}: {plan.why}")
    return dg.SensorResult(run_requests=list(run_requests(context.instance, plan, job)))


def _plan(
    instance: dg.DagsterInstance, database: DatabaseResource, lease: WorkerLease, job: str
) -> Plan:
    """Plan the tick: one fresh worker."""
    settings = load_settings()
    target = SessionTarget(
        sessions=1,
        lead_s=lead_s(settings.session_minutes * 60),
        code_version=code_version(settings),
        idle=False,
        start_s=settings.run_start_s,
    )
    with closing(database.open()) as opened:
        sessions = read_sessions(opened, lease.topic)
    unfinished = list(unfinished_runs(instance, job))
    return plan_sessions(target, None, sessions, unfinished, list(finished_runs(instance, job)))
