"""The jobs: the session that drains the stream, the re-score of whole days, the diff."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lalafo_assets.reports.training import TRAINING_SET
from resources.dagster.executors import Kind, pod_tags, rescore_executor, session_executor
from resources.dagster.names import MODEL_RELEASE, RELEASE_DIFF

TRAIN_JOB = "train_release"


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


def train_job(executor: Kind, *, gpus: int = 1) -> UnresolvedAssetJobDefinition:
    """Freeze, train and judge; `gpus` a pod, where there are pods."""
    return dg.define_asset_job(
        TRAIN_JOB,
        selection=dg.AssetSelection.assets(TRAINING_SET, MODEL_RELEASE),
        executor_def=rescore_executor(executor),
        tags=dict(pod_tags(executor, gpus=gpus, memory="8Gi")),
        description=(
            "Freeze the labels as a training set, make a release of it, and judge it against the "
            "live one. What passes can be scored beside it by `lalafo rescore NAME`."
        ),
    )
