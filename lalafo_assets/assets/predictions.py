"""One asset a task (`ad_categories`, …): what a release says of each ad.

Decides nothing about tasks: a file in `ops/tasks/` brings its asset. The stream fills them; run
by hand or by a backfill, an asset scores the days' ads that have no prediction of their present
revision under the run's release (that of its tag `lalafo/release`, else the live one), from stored
embeddings; then it closes the days that owe the release nothing any more.
"""

from contextlib import closing
from datetime import timedelta

import dagster as dg

from lalafo_assets.assets.embeddings import photo_embeddings
from lalafo_assets.assets.release_scores import settle_days
from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import as_metadata, table_metadata
from ops.tasks import Task, all_tasks
from resources.catalogue.pictures import prediction_pictures
from resources.catalogue.stale_photos import Catalogue
from resources.catalogue.summaries import prediction_summary
from resources.dagster.names import MODEL_RELEASE, OWNERS, POOL_BACKFILL, RELEASE_TAG
from resources.dagster.partitions import DAYS_A_RUN, days, days_of
from resources.dagster.resources import DatabaseResource, ModelsResource
from resources.postgres import tables
from resources.rescoring.attempts import at_work
from resources.rescoring.stages import ScoreOptions, score_days
from resources.settings import load_settings


def prediction_asset(task: Task) -> dg.AssetsDefinition:
    """The asset of one task."""

    @dg.asset(
        name=task.asset_name,
        deps=[photo_embeddings, MODEL_RELEASE],
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
        metadata=table_metadata(tables.predictions),
        description=task.description,
    )
    def predictions(
        context: dg.AssetExecutionContext,
        database: DatabaseResource,
        models: ModelsResource,
    ) -> dg.MaterializeResult[None]:
        from resources.inference.batch_release import load_heads, release_of_run

        with plain_failures(), closing(database.open()) as held, at_work(held, context.run.run_id):
            covered = days_of(context)
            catalogue = Catalogue(held, run_id=context.run.run_id)
            release = release_of_run(held, context.run.tags, RELEASE_TAG)
            ready = load_heads(release, models.store())
            scored = score_days(
                catalogue,
                ready,
                task,
                covered,
                on_progress=context.log.info,
                options=ScoreOptions(rows_per_s=load_settings().rescore_rows_per_s),
            )
            settled = settle_days(context.instance, held, release, covered)
            summary = prediction_summary(held, covered, release=release.name, task=task.name)
            return dg.MaterializeResult(
                metadata={
                    "dagster/partition_row_count": summary.ads,
                    "release": release.name,
                    "ads_scored": scored,
                    **settled,
                    **as_metadata(prediction_pictures(summary)),
                }
            )

    return predictions


prediction_assets = [prediction_asset(task) for task in all_tasks()]
