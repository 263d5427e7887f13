"""The job `upkeep`: what must be done now and then so that nothing grows for ever or is forgotten.

Decides how each duty appears to Dagster: one op each, no order among them, so that one that fails
stops no other and fails the run all the same. The duties are `resources/`'.
"""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from lalafo_assets.reports.failures import plain_failures
from resources.dagster.executors import Kind, pod_tags, session_executor
from resources.dagster.resources import AdStreamResource, DatabaseResource, PhotosResource
from resources.dagster.run_retention import FINISHED, prune_runs
from resources.kafka.outbox import relay, waiting
from resources.settings import load_settings
from resources.upkeep.photos import sweep_photos
from resources.upkeep.releases import remove_superseded
from resources.upkeep.requeue import requeue_ads
from resources.upkeep.rows import delete_old_rows, delete_old_uploads

UPKEEP_JOB = "upkeep"
EVERY_MINUTES = 15
STUCK_S = 1_800
"""A run that takes longer is stopped by run monitoring; the next one goes on."""

OWN_RUNS_KEPT = timedelta(days=1)
"""Of upkeep's own runs that went well: there are 96 a day."""

WALKS_A_DAY = 24 * 60 // EVERY_MINUTES
"""Each run looks through so small a part of the store's folders: all of it in a day."""

UNFINISHED_AFTER_S = 3_600.0
OUTBOX_CHUNK_ROWS = 500
OUTBOX_CHUNKS = 100


class PhotoSweepConfig(dg.Config):
    """What counts as let go."""

    orphaned_minutes: float = Field(
        default=60.0, ge=0, description="A photo goes that no ad has referred to for so long."
    )


class OutboxConfig(dg.Config):
    """What counts as left behind."""

    older_than_s: float = Field(
        default=60.0, ge=0, description="Younger rows are a session's to send."
    )


class RunsConfig(dg.Config):
    """How much at once."""

    limit: int = Field(default=200, ge=1, description="Runs to look at in one run of this job.")


@dg.op(description="Remove photos that no ad refers to any more, and files that a kill left.")
def remove_photos(
    context: dg.OpExecutionContext,
    config: PhotoSweepConfig,
    database: DatabaseResource,
    photos: PhotosResource,
) -> None:
    """Objects first, then rows, under each row's lock."""
    store = photos.store()
    with plain_failures(), closing(database.open()) as held:
        sweep = sweep_photos(held, store, orphaned_s=config.orphaned_minutes * 60)
        part = int(time.time() // (EVERY_MINUTES * 60)) % WALKS_A_DAY
        unfinished = store.remove_unfinished(UNFINISHED_AFTER_S, part=part, of=WALKS_A_DAY)
    _tell(
        context,
        looked_at=sweep.looked_at,
        still_used=sweep.still_used,
        removed=sweep.removed,
        put_again=sweep.put_again,
        objects=sweep.objects,
        unfinished_files=unfinished,
    )


@dg.op(description="Delete what the settings keep for a time: timings, dead letters, sessions, …")
def delete_rows(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """By age, in chunks."""
    with plain_failures(), closing(database.open()) as held:
        _tell(context, **delete_old_rows(held, load_settings()))


@dg.op(description="Remove bytes that callers sent, once their renditions are stored.")
def remove_uploads(
    context: dg.OpExecutionContext, database: DatabaseResource, photos: PhotosResource
) -> None:
    """Objects first, then rows, under each row's lock."""
    with plain_failures(), closing(database.open()) as held:
        _tell(context, uploads=delete_old_uploads(held, photos.store(), load_settings()))


@dg.op(description="Owe the topic the events of ads that were received and never scored.")
def queue_unscored(
    context: dg.OpExecutionContext, database: DatabaseResource, ad_stream: AdStreamResource
) -> None:
    """Through the outbox; a session or the next duty sends them."""
    with plain_failures(), closing(database.open()) as held, ad_stream.open() as stream:
        message = requeue_ads(
            held, stream.config.ads_topic, retry_s=load_settings().retry_unscored_minutes * 60
        )
    if message.unreadable > 0:
        context.log.warning(
            f"{message.unreadable} ads wait to be scored, but a photo's reference was not stored: "
            "they wait for the seller system's next revision"
        )
    _tell(
        context,
        received=message.received,
        out_of_reach=message.out_of_reach,
        unreadable=message.unreadable,
    )


@dg.op(description="Send what sessions left in the outbox.")
def send_outbox(
    context: dg.OpExecutionContext,
    config: OutboxConfig,
    database: DatabaseResource,
    ad_stream: AdStreamResource,
) -> None:
    """The backstop for rows whose session died; it opens no connection to Kafka for nothing."""
    sent = 0
    with plain_failures(), closing(database.open()) as held:
        if waiting(held, older_than_s=config.older_than_s) > 0:
            with ad_stream.open() as stream, stream.publisher() as publisher:
                for _ in range(OUTBOX_CHUNKS):
                    now_sent = relay(
                        held,
                        publisher,
                        older_than_s=config.older_than_s,
                        limit=OUTBOX_CHUNK_ROWS,
                    )
                    sent += now_sent
                    if now_sent < OUTBOX_CHUNK_ROWS:
                        break
        left = waiting(held, older_than_s=config.older_than_s)
    _tell(context, sent=sent, left=left)


@dg.op(description="Remove what releases left that nobody goes back to any more.")
def remove_releases(context: dg.OpExecutionContext, database: DatabaseResource) -> None:
    """Predictions and embeddings; the releases themselves stay in the store."""
    with plain_failures(), closing(database.open()) as held:
        removed = remove_superseded(held, keep_days=load_settings().keep_superseded_days)
    _tell(
        context,
        retired=int(removed.retired is not None),
        emptied=len(removed.emptied),
        embeddings=removed.embeddings,
    )


@dg.op(description="Delete Dagster's finished runs that are old enough, with their event logs.")
def delete_runs(context: dg.OpExecutionContext, config: RunsConfig) -> None:
    """Except those that hold the last materialisation of a partition."""
    pruned = prune_runs(
        context.instance,
        keep_days=load_settings().keep_runs_days,
        frequent={UPKEEP_JOB: OWN_RUNS_KEPT},
        limit=config.limit,
    )
    _tell(context, deleted=pruned.deleted, kept=pruned.kept)


def upkeep_job(executor: Kind) -> dg.JobDefinition:
    """The job that `upkeep_schedule` starts."""

    @dg.job(
        name=UPKEEP_JOB,
        executor_def=session_executor(executor),
        tags={
            **pod_tags(executor, gpus=0, memory="1Gi"),
            "dagster/max_runtime": str(STUCK_S),
        },
        description=(
            "Photos that nobody refers to, rows, runs and releases that are old, ads never "
            "scored, records that a dead session owed. One op a duty; each says what it did."
        ),
    )
    def upkeep() -> None:
        remove_photos()
        delete_rows()
        remove_uploads()
        remove_releases()
        queue_unscored()
        send_outbox()
        delete_runs()

    return upkeep


def upkeep_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every quarter of an hour, unless the last run is still at it."""

    @dg.schedule(
        job=job,
        cron_schedule=f"*/{EVERY_MINUTES} * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Runs the job `{UPKEEP_JOB}` every {EVERY_MINUTES} minutes.",
    )
    def upkeep_every_quarter_hour(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.SkipReason | dg.RunRequest:
        # A killed stack leaves runs "started" for ever: beyond the time that a run may take, its
        # status is not believed.
        unfinished = [status for status in dg.DagsterRunStatus if status not in FINISHED]
        since = datetime.now(UTC) - timedelta(seconds=STUCK_S)
        at_work = context.instance.get_run_records(
            dg.RunsFilter(job_name=UPKEEP_JOB, statuses=unfinished, created_after=since), limit=1
        )
        if at_work:
            return dg.SkipReason(f"run {at_work[0].dagster_run.run_id} is still at it")
        return dg.RunRequest()

    return upkeep_every_quarter_hour


def _tell(context: dg.OpExecutionContext, **counts: int) -> None:
    """The duty's line in the run's log, and the same as metadata of its output."""
    context.log.info(", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))
    context.add_output_metadata(counts)
