"""The Dagster job that runs one session."""

import dagster as dg

from lalafo_assets.session.op import check_days, drain_ads, load_releases
from resources.dagster.executors import Kind, pod_tags, session_executor
from resources.dagster.names import SESSION_JOB


def session_job(
    executor: Kind, days: dg.DailyPartitionsDefinition, *, gpus: int = 1
) -> dg.JobDefinition:
    """Return the job that the sensor `new_ads` starts.

    Args:
        gpus: for each pod, where the executor starts pods.
    """

    @dg.job(
        name=SESSION_JOB,
        partitions_def=days,
        executor_def=session_executor(executor),
        tags=dict(pod_tags(executor, gpus=gpus, memory="4Gi")),
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
