"""What Dagster loads: assets, checks, jobs, schedules, sensors and resources."""

import dagster as dg

from lalafo_assets.checks import checks
from lalafo_assets.embeddings import photo_embeddings
from lalafo_assets.jobs import rescore_job, session_job
from lalafo_assets.photos import ad_photos, ads_topic
from lalafo_assets.predictions import prediction_assets
from lalafo_assets.releases import model_release
from lalafo_assets.upkeep import upkeep_job, upkeep_schedule
from resources.dagster_resources import RESOURCES
from resources.settings import load_settings
from sensors.failures import failed_sessions
from sensors.new_ads import new_ads


@dg.definitions
def defs() -> dg.Definitions:
    """Everything, for the executor that LALAFO_EXECUTOR names, and the device of its pods."""
    settings = load_settings()
    executor, gpus = settings.executor, int(settings.device != "cpu")
    session, upkeep = session_job(executor, gpus=gpus), upkeep_job(executor)
    return dg.Definitions(
        assets=[ads_topic, model_release, ad_photos, photo_embeddings, *prediction_assets],
        asset_checks=checks,
        jobs=[session, rescore_job(executor, gpus=gpus), upkeep],
        schedules=[upkeep_schedule(upkeep)],
        sensors=[new_ads(session), failed_sessions(session)],
        resources=RESOURCES,
    )
