"""The job `upkeep`: periodic maintenance, such as deleting old rows and publishing pending records.

Each duty is one op. No op depends on another, so that one that fails does not stop the others; the
run fails nevertheless. The duties are implemented in `resources/`.
"""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from lalafo_assets.jobs.outbox import republish_lost, send_outbox
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import report_counts
from resources.dagster.executors import Execution, background_executor
from resources.dagster.resources import AdStreamResource, DatabaseResource, PhotosResource
from resources.dagster.run_retention import FINISHED, prune_runs
from resources.settings import load_settings
from resources.storage.report_pictures import ReportPictures
from resources.upkeep.photos import sweep_photos
from resources.upkeep.releases import remove_superseded
from resources.upkeep.requeue import requeue_ads
from resources.upkeep.rows import delete_old_rows, delete_old_uploads

UPKEEP_JOB = "upkeep"
EVERY_MINUTES = 15
STUCK_S = 1_800
"""Run monitoring stops a run that takes longer; the next run continues its work."""

KEEP_OWN_RUNS = timedelta(days=1)
"""How long upkeep's own successful runs are kept: there are 96 a day."""

RUNS_PER_DAY = 24 * 60 // EVERY_MINUTES
"""Each run scans this fraction of the store's folders for unfinished files: all of them in a day.
"""

UNFINISHED_AFTER_S = 3_600.0


class PhotoSweepConfig(dg.Config):
    """Which photos are removed."""

    orphaned_minutes: float = Field(
        default=60.0,
        ge=0,
        description="Remove a photo that no ad has referred to for this many minutes.",
    )


class RunsConfig(dg.Config):
    """How many runs are deleted at once."""

    limit: int = Field(
        default=200, ge=1, description="Runs to examine at most in one run of this job."
    )


@dg.op(
    description="Removes photos that no ad refers to any more, and unfinished files that a killed "
    "process left in the store."
)
def remove_photos(
    context: dg.OpExecutionContext,
    config: PhotoSweepConfig,
    database: DatabaseResource,
    photos: PhotosResource,
) -> None:
    """Delete a photo's objects, then its row, while its row is locked."""
    store = photos.store()
    with plain_failures(), closing(database.open()) as db:
        sweep = sweep_photos(db, store, orphaned_s=config.orphaned_minutes * 60)
        part = int(time.time() // (EVERY_MINUTES * 60)) % RUNS_PER_DAY
        unfinished = store.remove_unfinished(UNFINISHED_AFTER_S, part=part, of=RUNS_PER_DAY)
    report_counts(
        context,
        checked=sweep.looked_at,
        still_referenced=sweep.still_used,
        removed=sweep.removed,
        stored_again=sweep.put_again,
        objects=sweep.objects,
        unfinished_files=unfinished,
    )


@dg.op(
    description="Deletes rows that are older than their retention setting: timings, dead letters, "
    "sessions and others."
)
def delete_rows(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Delete rows by age, in chunks."""
    with plain_failures(), closing(database.open()) as db:
        report_counts(context, **delete_old_rows(db, load_settings()))


@dg.op(description="Removes uploaded photo files once their renditions are stored.")
def remove_uploads(
    context: dg.OpExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> None:
    """Delete an upload's objects, then its row, while its row is locked."""
    with plain_failures(), closing(database.open()) as db:
        report_counts(context, uploads=delete_old_uploads(db, photos.store(), load_settings()))


@dg.op(description="Requeues the events of ads that were received but never scored.")
def queue_unscored(
    context: dg.OpExecutionContext, database: DatabaseResource, ad_stream: AdStreamResource
) -> None:
    """Put the events into the outbox; a session or `send_outbox` publishes them."""
    with plain_failures(), closing(database.open()) as db, ad_stream.open() as stream:
        requeued = requeue_ads(
            db, stream.config.ads_topic, retry_s=load_settings().retry_unscored_minutes * 60
        )
    if requeued.unreadable > 0:
        context.log.warning(
            f"{requeued.unreadable} ads can't be requeued, since a photo's reference was not "
            "stored: they stay unscored until the seller system sends a new revision"
        )
    report_counts(
        context,
        received=requeued.received,
        out_of_reach=requeued.out_of_reach,
        unreadable=requeued.unreadable,
    )


@dg.op(
    description="Removes the predictions and embeddings of superseded releases after their "
    "retention time."
)
def remove_releases(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Remove predictions and embeddings; the releases themselves stay in the store."""
    with plain_failures(), closing(database.open()) as db:
        removed = remove_superseded(db, keep_days=load_settings().keep_superseded_days)
    report_counts(
        context,
        retired=int(removed.retired is not None),
        emptied=len(removed.emptied),
        embeddings=removed.embeddings,
    )


@dg.op(description="Deletes old finished runs of Dagster, with their event logs and pictures.")
def delete_runs(context: dg.OpExecutionContext, config: RunsConfig, photos: PhotosResource) -> None:
    """Delete old runs, except those with the latest materialization of a partition."""
    pictures = ReportPictures(photos.url())
    pruned = prune_runs(
        context.instance,
        keep_days=load_settings().keep_runs_days,
        frequent={UPKEEP_JOB: KEEP_OWN_RUNS},
        limit=config.limit,
        deleted=pictures.remove,
    )
    report_counts(context, deleted=pruned.deleted, kept=pruned.kept)


def upkeep_job(execution: Execution) -> dg.JobDefinition:
    """Return the job that `upkeep_schedule` starts."""

    @dg.job(
        name=UPKEEP_JOB,
        executor_def=background_executor(),
        tags={
            **execution.tags("maintenance"),
            "dagster/max_runtime": str(STUCK_S),
        },
        description=(
            "Removes unreferenced photos and old rows, runs and releases, requeues ads that were "
            "never scored or that the topic has lost, and publishes records that a dead session "
            "left in the outbox. Each duty is one op and reports its counts."
        ),
    )
    def upkeep() -> None:
        remove_photos()
        delete_rows()
        remove_uploads()
        remove_releases()
        queue_unscored()
        republish_lost()
        send_outbox()
        delete_runs()

    return upkeep


def upkeep_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule: every quarter of an hour, unless the last run is unfinished."""

    @dg.schedule(
        job=job,
        cron_schedule=f"*/{EVERY_MINUTES} * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Runs the job `{UPKEEP_JOB}` every {EVERY_MINUTES} minutes.",
    )
    def upkeep_every_quarter_hour(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.SkipReason | dg.RunRequest:
        # The runs of a killed stack keep the status "started" without end, so runs that are older
        # than a run may take are ignored.
        unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED]
        since = datetime.now(UTC) - timedelta(seconds=STUCK_S)
        running = context.instance.get_run_records(
            dg.RunsFilter(job_name=UPKEEP_JOB, statuses=unfinished, created_after=since), limit=1
        )
        if running:
            return dg.SkipReason(f"run {running[0].dagster_run.run_id} is not finished")
        return dg.RunRequest()

    return upkeep_every_quarter_hour
