"""Training as assets: `training_set`, `model_release` which is trained on it, and the gate.

`resources/training/train.py` trains models and `resources/training/gate.py` evaluates them. A
release that was installed from elsewhere, or trained by `lalafo train`, is reported under the same
asset keys.
"""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg
from pydantic import Field

from lalafo_assets.reports.failures import plain_failures
from lalafo_assets.reports.metadata import table_metadata
from lalafo_assets.reports.training import (
    TRAINING_SET,
    check_results,
    check_specs,
    release_metadata,
    set_metadata,
)
from ops.errors import NotReadyError
from ops.training.dataset import SplitRule
from ops.training.make_release import StepProgress
from resources.dagster.names import AD_PHOTOS, MODEL_RELEASE, OWNERS, POOL_BACKFILL
from resources.dagster.resources import DatabaseResource, ModelsResource
from resources.postgres import tables
from resources.releases.active import read_active_releases


class TrainingSetConfig(dg.Config):
    """How a training set is split."""

    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the photos held out for evaluation."
    )
    split_seed: int = Field(
        default=0,
        description="Seed of the split. Keep it between trainings: another seed holds out photos "
        "that the live release was trained on, and the gate can evaluate only a few.",
    )


class ReleaseConfig(dg.Config):
    """How a release is trained."""

    seed: int = Field(
        default=0, description="Seed of the cross-validation folds and of fine-tuning."
    )
    backbone: str = Field(
        default="live",
        description="'live' uses the live release's backbone unchanged; 'auto' the best one whose "
        "weights are here; otherwise a name of `lalafo backbones`.",
    )
    weights: str = Field(
        default="auto",
        description="Initial weights of a backbone given by name: auto, starter, pretrained, or "
        "file:PATH.",
    )
    finetune: bool = Field(
        default=False, description="Train the backbone too. This takes minutes to hours."
    )
    epochs: float = Field(default=8.0, gt=0, description="Epochs of fine-tuning.")


@dg.asset(
    key=TRAINING_SET,
    # It reads `photo_embeddings` too, but those depend on `model_release`: naming them here would
    # make a cycle in the asset graph.
    deps=[AD_PHOTOS],
    group_name="models",
    kinds={"postgres", "json"},
    owners=OWNERS,
    code_version="1",
    description=(
        "A frozen set of labelled photos to train and evaluate a model on, made by the job "
        "`train_release` or `lalafo train`; `model_release` reads it. A label is a person's "
        "correction, otherwise the category that the seller chose. All photos of an ad, and all "
        "near duplicates of a photo, are in the same part of the split. Stored as "
        "training/DIGEST.jsonl; the same rows give the same digest."
    ),
)
def training_set(
    config: TrainingSetConfig, database: DatabaseResource, models: ModelsResource
) -> dg.MaterializeResult[None]:
    """Freeze the labels that are in the database now."""
    from resources.training.train import freeze_training_set

    with plain_failures(), closing(database.open()) as db:
        stores, settings = models.stores(), models.settings()
        rule = SplitRule(held_out=config.held_out, seed=config.split_seed)
        frozen = freeze_training_set(db, stores, settings, rule=rule)
        return dg.MaterializeResult(metadata=set_metadata(frozen, stores.photos, stores.training))


@dg.asset(
    key=MODEL_RELEASE,
    deps=[training_set],
    group_name="models",
    kinds={"pytorch", "safetensors"},
    owners=OWNERS,
    code_version="1",
    pool=POOL_BACKFILL,
    metadata=table_metadata(tables.releases),
    description=(
        "A frozen release: backbone, heads, preprocessing and taxonomy. It is named by its digest "
        "and verified by SHA-256 whenever it is loaded. A run of this asset fits the heads on the "
        "training set's stored embeddings, and the gate compares the release with the live one. "
        "A person promotes it. `lalafo releases list` shows all releases."
    ),
)
def model_release(
    context: dg.AssetExecutionContext,
    config: ReleaseConfig,
    database: DatabaseResource,
    models: ModelsResource,
) -> dg.MaterializeResult[None]:
    """Train on the latest training set, then save and register the release.

    A repeated run with the same input changes nothing.
    """
    from lalafo_assets.starter import starter_state
    from resources.inference.loading import install
    from resources.training.train import TrainingOptions, train_release

    options = TrainingOptions(
        seed=config.seed,
        backbone=config.backbone,
        weights=config.weights,
        finetune=config.finetune,
        epochs=config.epochs,
        starter=starter_state,
    )
    with plain_failures(), closing(database.open()) as db:
        stores = models.stores()
        digest = _latest(context.instance, TRAINING_SET, "digest")
        trained = train_release(
            db, stores, models.settings(), digest, options, on_progress=_in_tenths(context.log)
        )
        known = install(db, stores.releases, trained.made.release)
        live = read_active_releases(db).live.name == known.name
        return dg.MaterializeResult(metadata=release_metadata(trained, stores.photos, live=live))


@dg.multi_asset_check(
    name="gate",
    specs=check_specs(),
    description="Compares the latest release with the live one on photos that neither was trained "
    "on.",
)
def gate(
    context: dg.AssetCheckExecutionContext, database: DatabaseResource, models: ModelsResource
) -> Iterator[dg.AssetCheckResult]:
    """Fail where the release is worse than the margins in any measure.

    The run then ends here, and `propose` refuses the release.
    """
    from resources.training.gate import check_release

    with plain_failures(), closing(database.open()) as db:
        name = _latest(context.instance, MODEL_RELEASE, "name")
        on_progress = _in_tenths(context.log)
        verdict = check_release(
            db, models.stores(), models.settings(), name, on_progress=on_progress
        )
    yield from check_results(verdict)


def _latest(instance: dg.DagsterInstance, asset: dg.AssetKey, entry: str) -> str:
    """Return a metadata entry of the asset's latest materialization."""
    event = instance.get_latest_materialization_event(asset)
    latest = None if event is None else event.asset_materialization
    if latest is None or entry not in latest.metadata:
        name = asset.to_user_string()
        raise NotReadyError(f"{name} was never materialized: materialize it first")
    return str(latest.metadata[entry].value)


def _in_tenths(log: dg.DagsterLogManager) -> StepProgress:
    """Return a callback that logs progress to the run: one line per tenth of each stage."""
    last = [("", -1)]

    def on_progress(what: str, done: int, of: int) -> None:
        stage, tenth = what.partition(" (")[0], 10 * done // max(of, 1)
        if (stage, tenth) != last[0]:
            last[0] = (stage, tenth)
            log.info(f"{what}: {done} of {of}")

    return on_progress
