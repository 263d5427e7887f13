"""The jobs over assets: the re-score of whole days, the comparison of releases, the training."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from lalafo_assets.reports.training import TRAINING_SET
from resources.dagster.executors import Execution, background_executor, step_executor
from resources.dagster.names import MODEL_RELEASE, RELEASE_DIFF

TRAIN_JOB = "train_release"


def rescore_job(execution: Execution) -> UnresolvedAssetJobDefinition:
    """Return the job that scores whole days."""
    return dg.define_asset_job(
        "rescore_days",
        selection=dg.AssetSelection.groups("catalogue"),
        executor_def=step_executor(execution, "batch"),
        tags=execution.tags("coordinator"),
        description=(
            "Scores whole days under the live release, or under the release in the run's tag "
            "`lalafo/release`. It updates stale rows only, from stored photos and embeddings. "
            "Launch it for a day, or as a backfill over several days."
        ),
    )


def diff_job(execution: Execution) -> UnresolvedAssetJobDefinition:
    """Return the job that the sensor `releases` starts when a candidate is complete."""
    return dg.define_asset_job(
        "compare_releases",
        selection=dg.AssetSelection.assets(RELEASE_DIFF),
        executor_def=background_executor(),
        tags=execution.tags("maintenance"),
        description="Compares the candidate with the live release: what a promotion would change.",
    )


def train_job(execution: Execution) -> UnresolvedAssetJobDefinition:
    """Return the job that trains a release and evaluates it."""
    return dg.define_asset_job(
        TRAIN_JOB,
        selection=dg.AssetSelection.assets(TRAINING_SET, MODEL_RELEASE),
        executor_def=step_executor(execution, "training"),
        tags=execution.tags("coordinator"),
        description=(
            "Freezes the labels as a training set, trains a release on it, and compares the "
            "release with the live one. `lalafo rescore NAME` makes a release that passed the "
            "candidate."
        ),
    )
