"""The Dagster job that runs one session."""

import dagster as dg

from lalafo_assets.session.op import drain_ads
from resources.dagster.executors import Kind, pod_tags, session_executor
from resources.dagster.names import SESSION_JOB
from resources.dagster.partitions import days


def session_job(executor: Kind, *, gpus: int = 1) -> dg.JobDefinition:
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
            "Runs one session. It consumes its share of the topic `ads`, or stands by, and "
            "materializes ad_photos, photo_embeddings and ad_categories of every day that it "
            "writes to. The sensor `new_ads` starts sessions, and replaces those that end or run "
            "an older code version."
        ),
    )
    def score_new_ads() -> None:
        drain_ads()

    return score_new_ads
