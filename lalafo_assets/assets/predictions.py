"""The prediction assets (`ad_categories`, …): one for each task in `ops/tasks/`.

The stream fills them. A manual run or a backfill scores the ads of its days that have no prediction
of their present revision under the run's release (the release in the run's tag `lalafo/release`,
otherwise the live one). It reads what the task declares: stored embeddings, fields of the ads,
other tasks' answers, photos as pixels from their renditions. Then it closes the days that are
complete under that release.
"""

from contextlib import closing
from datetime import timedelta

import dagster as dg

from lalafo_assets.assets.embeddings import photo_embeddings
from lalafo_assets.assets.release_scores import settle_days
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import table_metadata
from lalafo_assets.reports.pictures import as_metadata
from ops.tasks import Task, all_tasks, task_by_name
from resources.catalogue.pictures import mask_pictures, prediction_pictures
from resources.catalogue.stale_photos import Catalogue
from resources.catalogue.summaries import prediction_summary
from resources.dagster.names import MODEL_RELEASE, OWNERS, POOL_BACKFILL, RELEASE_TAG
from resources.dagster.partitions import DAYS_A_RUN, days, days_of
from resources.dagster.resources import DatabaseResource, ModelsResource, PhotosResource
from resources.postgres import tables
from resources.releases.installed_tasks import tasks_off
from resources.rescoring.attempts import at_work
from resources.rescoring.embed_and_score import ScoreOptions, ScoreProgress, score_days
from resources.settings import load_settings


def prediction_asset(task: Task) -> dg.AssetsDefinition:
    """Return the asset of one task."""

    @dg.asset(
        name=task.asset_name,
        deps=[photo_embeddings, MODEL_RELEASE, *_answers_read(task)],
        partitions_def=days,
        group_name="catalogue",
        kinds={"postgres", "numpy"},
        owners=OWNERS,
        code_version="1",
        pool=POOL_BACKFILL,
        backfill_policy=DAYS_A_RUN,
        freshness_policy=dg.FreshnessPolicy.time_window(
            warn_window=timedelta(hours=25), fail_window=timedelta(hours=49)
        ),
        metadata=table_metadata(tables.predictions, answer=task.answer),
        description=(
            f"{task.description} One row for each ad, release and label, in the table "
            "`lalafo.predictions`. Sessions write it within a second of an ad, backfills for a "
            "candidate release; the gateway, the page and the topic `ads.scored` give readers the "
            "rows of the live release."
        ),
    )
    def predictions(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        models: ModelsResource,
        photos: PhotosResource,
    ) -> dg.MaterializeResult[None]:
        from resources.inference.batch_release import load_heads, release_of_run

        with plain_failures(), closing(database.open()) as db, at_work(db, context.run.run_id):
            covered = days_of(context)
            settings = load_settings()
            catalogue = Catalogue(db, run_id=context.run.run_id)
            release = release_of_run(db, context.run.tags, RELEASE_TAG)
            ready = load_heads(release, models.store())
            states = [ScoreProgress(0, 0, 0.0)]
            scored = score_days(
                catalogue,
                ready,
                task,
                covered,
                on_progress=context.log.info,
                progress=lambda state: states.__setitem__(0, state),
                options=ScoreOptions(rows_per_s=settings.rescore_rows_per_s),
                store_url=photos.url(),
                off=tasks_off(settings, all_tasks()),
            )
            day_states = settle_days(context.instance, db, release, covered)
            summary = prediction_summary(db, covered, release=release.name, task=task.name)
            pictures = prediction_pictures(summary) | mask_pictures(
                db, photos.store(), covered, release=release.name, task=task
            )
            return dg.MaterializeResult(
                metadata={
                    **as_metadata(pictures, context.run.run_id, task.asset_name),
                    "dagster/partition_row_count": summary.ads,
                    "release": release.name,
                    "ads_scored": scored,
                    "ads_failed": states[0].failed,
                    **day_states,
                }
            )

    return predictions


def _answers_read(task: Task) -> list[dg.AssetKey]:
    """The assets of the tasks whose answers it reads."""
    return [dg.AssetKey(task_by_name(name).asset_name) for name in task.inputs.answers]


prediction_assets = [prediction_asset(task) for task in all_tasks()]
