"""The schedule `rescore_stale`: the live release is looked over for days that it owes.

Decides when it is looked over, and asks; when the re-score starts is the sensor `releases`' to say,
so that outside its window a request waits and is not skipped.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from resources.dagster.executors import Kind, pod_tags, session_executor
from resources.dagster.resources import DatabaseResource
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.rescoring.attempts import request
from resources.settings import load_settings

STALE_JOB = "rescore_stale"


@dg.op(description="Ask for a re-score where the live release owes days.")
def request_stale_rescore(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """The sensor `releases` starts it, in its window."""
    with plain_failures(), closing(database.open()) as held:
        live = read_active_releases(held).live
        unscored = read_coverage(held, live.name).unscored
        if not unscored:
            context.log.info(f"{live.name} owes no day")
            return
        row = request(held, live, requested_by="the schedule rescore_stale", any_time=False)
        context.log.info(
            f"{len(unscored)} days are owed by {live.name}: {row.backfill_id} {row.state}"
        )


def stale_job(executor: Kind) -> dg.JobDefinition:
    """The job that `stale_schedule` starts."""

    @dg.job(
        name=STALE_JOB,
        executor_def=session_executor(executor),
        tags=dict(pod_tags(executor, gpus=0, memory="1Gi")),
        description=(
            "Asks for a re-score of the days that the live release owes, since photos of them "
            "were mended. It is started by the sensor `releases`: at once, or in LALAFO_RESCORE_"
            "WINDOW."
        ),
    )
    def rescore_stale() -> None:
        request_stale_rescore()

    return rescore_stale


def stale_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """When LALAFO_RESCORE_CRON says, in UTC."""
    return dg.ScheduleDefinition(
        name="rescore_stale",
        job=job,
        cron_schedule=load_settings().rescore_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks the live release over for days that it owes (LALAFO_RESCORE_CRON).",
    )
