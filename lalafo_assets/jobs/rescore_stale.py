"""The schedule `rescore_stale`: looks for unscored days of the live release.

It only requests a re-score. The sensor `releases` starts it, so that a request outside the re-score
window waits and is not lost.
"""

from contextlib import closing

import dagster as dg

from lalafo_assets.reports.failures import plain_failures
from resources.dagster.executors import Execution, background_executor
from resources.dagster.resources import DatabaseResource
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.rescoring.attempts import request
from resources.settings import load_settings

STALE_JOB = "rescore_stale"


@dg.op(description="Requests a re-score if the live release has unscored days.")
def request_stale_rescore(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Request a re-score; the sensor `releases` starts it within the re-score window."""
    with plain_failures(), closing(database.open()) as db:
        live = read_active_releases(db).live
        unscored = read_coverage(db, live.name).unscored
        if not unscored:
            context.log.info(f"{live.name} has no unscored day")
            return
        row = request(db, live, requested_by="the schedule rescore_stale", any_time=False)
        context.log.info(
            f"{len(unscored)} days are unscored under {live.name}; re-score {row.backfill_id} is "
            f"{row.state}"
        )


def stale_job(execution: Execution) -> dg.JobDefinition:
    """Return the job that `stale_schedule` starts."""

    @dg.job(
        name=STALE_JOB,
        executor_def=background_executor(),
        tags=execution.tags("maintenance"),
        description=(
            "Requests a re-score of the days that are unscored under the live release, because "
            "photos of them were repaired. The sensor `releases` starts the re-score, at once or "
            "within LALAFO_RESCORE_WINDOW."
        ),
    )
    def rescore_stale() -> None:
        request_stale_rescore()

    return rescore_stale


def stale_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule; LALAFO_RESCORE_CRON sets its times, in UTC."""
    return dg.ScheduleDefinition(
        name="rescore_stale",
        job=job,
        cron_schedule=load_settings().rescore_cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks for unscored days of the live release at LALAFO_RESCORE_CRON.",
    )
