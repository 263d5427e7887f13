"""The jobs: the session that drains the stream, the re-score of whole days, the diff."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lalafo_assets.partitions import days
from ops.asset_names import RELEASE_DIFF, SESSION_JOB
from ops.dagster_ops import drain_ads
from resources.executors import Kind, pod_tags, rescore_executor, session_executor


def session_job(executor: Kind, *, gpus: int = 1) -> dg.JobDefinition:
    """The job that the sensor `new_ads` starts; `gpus` a pod, where there are pods."""

    @dg.job(
        name=SESSION_JOB,
        partitions_def=days,
        executor_def=session_executor(executor),
        tags=dict(pod_tags(executor, gpus=gpus, memory="4Gi")),
        description=(
            "One session: reads its share of the topic `ads`, or stands by, and materialises "
            "ad_photos, photo_embeddings and ad_categories of every day that it writes to. Kept "
            "warm, replaced and rolled by the sensor `new_ads`."
        ),
    )
    def score_new_ads() -> None:
        drain_ads()

    return score_new_ads


def rescore_job(executor: Kind, *, gpus: int = 1) -> UnresolvedAssetJobDefinition:
    """The job that brings whole days to the live release; `gpus` a pod, where there are pods."""
    return dg.define_asset_job(
        "rescore_days",
        selection=dg.AssetSelection.groups("catalogue"),
        executor_def=rescore_executor(executor),
        tags=dict(pod_tags(executor, gpus=gpus, memory="8Gi")),
        description=(
            "Bring whole days to the live release: only stale rows are touched, and only from "
            "what is stored. Launch it for a day, or as a backfill over many."
        ),
    )


def diff_job(executor: Kind) -> UnresolvedAssetJobDefinition:
    """The job that the sensor `releases` starts when a candidate is complete."""
    return dg.define_asset_job(
        "compare_releases",
        selection=dg.AssetSelection.assets(RELEASE_DIFF),
        executor_def=session_executor(executor),
        tags=dict(pod_tags(executor, gpus=0, memory="2Gi")),
        description="What would change if the candidate were promoted now.",
    )
