"""The Dagster job that runs one session."""

import dagster as dg

from lalafo_assets.session.op import check_days, drain_ads, load_releases
from resources.dagster.executors import Execution, session_executor
from resources.dagster.names import SESSION_JOB


def session_job(execution: Execution, days: dg.DailyPartitionsDefinition) -> dg.JobDefinition:
    """Return the job that the sensor `new_ads` starts."""

    @dg.job(
        name=SESSION_JOB,
        partitions_def=days,
        executor_def=session_executor(),
        tags=execution.tags("session"),
        description=(
            "Scores new ads: one run is one session, which stays alive for about an hour and reads "
            "its share of the Kafka topic `ads`, or stands by. It materializes ad_photos, "
            "photo_embeddings and ad_categories of every day that it writes to. The sensor "
            "`new_ads` starts the runs, and replaces those that end or run an older code version; "
            "the run's partition is only the day on which it started."
        ),
    )
    def score_new_ads() -> None:
        check_days(drain_ads(load_releases()))

    return score_new_ads
