"""The Dagster code location: assets, asset checks, jobs, schedules, sensors and resources."""

import dagster as dg

from lalafo_assets.assets.ad_duplicates import ad_duplicates, no_photo_has_two_sellers
from lalafo_assets.assets.catalogue_export import catalogue_export
from lalafo_assets.assets.checks import checks_by_day
from lalafo_assets.assets.embeddings import photo_embeddings
from lalafo_assets.assets.photos import ad_photos, ads_topic
from lalafo_assets.assets.predictions import prediction_assets
from lalafo_assets.assets.release_diff import release_diff
from lalafo_assets.assets.release_scores import no_day_is_behind, release_scores
from lalafo_assets.assets.similarity_index import similarity_index
from lalafo_assets.assets.training import gate, model_release, training_set
from lalafo_assets.jobs.asset_jobs import diff_job, rescore_job, train_job
from lalafo_assets.jobs.catalogue_export import export_job, export_schedule
from lalafo_assets.jobs.find_duplicates import duplicates_job
from lalafo_assets.jobs.index_vectors import index_job
from lalafo_assets.jobs.rescore_stale import stale_job, stale_schedule
from lalafo_assets.jobs.upkeep import upkeep_job, upkeep_schedule
from lalafo_assets.session.job import session_job
from lalafo_assets.session.resource import SessionResource
from resources.catalogue.first_day import first_day_or_earliest
from resources.dagster.executors import Execution, background_executor
from resources.dagster.partitions import days_from, partitioned_by
from resources.dagster.resources import RESOURCES
from resources.settings import load_settings
from sensors.committed_ads import committed_ads
from sensors.failures import failed_sessions
from sensors.new_ads import new_ads
from sensors.releases import releases
from sensors.scored_ads import scored_ads


@dg.definitions
def defs() -> dg.Definitions:
    """Return all definitions, for the executor and the device that the settings name.

    Reads the catalogue's first day from the database; without one the partitions begin with the
    earliest day.
    """
    settings = load_settings()
    days = days_from(first_day_or_earliest(settings))
    execution = Execution.from_settings(settings)
    session, upkeep = session_job(execution, days), upkeep_job(execution)
    stale, diff = stale_job(execution), diff_job(execution)
    train = train_job(execution)
    exports, vectors = export_job(execution), index_job(execution)
    duplicates = duplicates_job(execution)
    return dg.Definitions(
        assets=[
            ads_topic,
            *partitioned_by(
                [ad_photos, photo_embeddings, *prediction_assets, catalogue_export], days
            ),
            training_set,
            model_release,
            release_scores,
            release_diff,
            similarity_index,
            ad_duplicates,
        ],
        asset_checks=[*checks_by_day(days), no_day_is_behind, gate, no_photo_has_two_sellers],
        jobs=[
            session,
            rescore_job(execution),
            train,
            stale,
            diff,
            exports,
            upkeep,
            vectors,
            duplicates,
        ],
        schedules=[
            upkeep_schedule(upkeep),
            stale_schedule(stale),
            export_schedule(exports, days),
        ],
        sensors=[
            new_ads(session),
            releases(diff),
            failed_sessions(session),
            scored_ads(vectors),
            committed_ads(duplicates),
        ],
        resources={**RESOURCES, "session": SessionResource()},
        # For the runs of a backfill: their steps run in sequence, in the run's own process or pod.
        executor=background_executor(),
    )
