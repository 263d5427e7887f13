"""Training as assets: `training_set`, `model_release` that is made of it, and the gate.

Decides nothing about models: `resources/training/train.py` makes them, `resources/training/gate.py`
judges them. A release that was installed from elsewhere, or trained by `lalafo train`, is reported
under the same keys.
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
    """How a training set is divided."""

    held_out: float = Field(default=0.2, gt=0, lt=1, description="The share to judge by.")
    split_seed: int = Field(
        default=0,
        description="Of the division. Keep it: another one holds out what the live release has "
        "seen, and the gate then has little left to judge by.",
    )


class ReleaseConfig(dg.Config):
    """What is trained."""

    seed: int = Field(default=0, description="Of the folds, and of a fine-tune.")
    backbone: str = Field(
        default="live", description="'live': the live release's, as it is; else a torchvision name."
    )
    weights: str = Field(
        default="auto",
        description="Of a named backbone: auto, starter, pretrained, or file:PATH.safetensors.",
    )
    finetune: bool = Field(default=False, description="Train the backbone too: minutes to hours.")
    epochs: float = Field(default=8.0, gt=0, description="Of a fine-tune.")


@dg.asset(
    key=TRAINING_SET,
    # Not `photo_embeddings`, which it reads too: those follow from a release, and assets make no
    # circle.
    deps=[AD_PHOTOS],
    group_name="models",
    kinds={"postgres", "json"},
    owners=OWNERS,
    code_version="1",
    description=(
        "The labelled photos that a model is made of and judged by, frozen: corrections by people, "
        "else the category that the seller filed. An ad, a photo and a group of near duplicates "
        "are on one side. In the store under training/DIGEST.jsonl; the same rows give the same "
        "digest."
    ),
)
def training_set(
    config: TrainingSetConfig, database: DatabaseResource, models: ModelsResource
) -> dg.MaterializeResult[None]:
    """Freeze what is labelled now."""
    from resources.training.train import freeze_training_set

    with plain_failures(), closing(database.open()) as held:
        stores, settings = models.stores(), models.settings()
        rule = SplitRule(held_out=config.held_out, seed=config.split_seed)
        frozen = freeze_training_set(held, stores, settings, rule=rule)
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
        "A frozen release: backbone, heads, preprocessing and taxonomy, named by digest, verified "
        "by SHA-256 whenever it is loaded. Run here, its heads are fitted on the training set's "
        "stored embeddings, and the gate compares it with the live release; it is promoted by "
        "people. `lalafo releases list` shows all of them."
    ),
)
def model_release(
    context: dg.AssetExecutionContext,
    config: ReleaseConfig,
    database: DatabaseResource,
    models: ModelsResource,
) -> dg.MaterializeResult[None]:
    """Train on the latest training set, save and register; again with the same is a no-op."""
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
    with plain_failures(), closing(database.open()) as held:
        stores = models.stores()
        digest = _latest(context.instance, TRAINING_SET, "digest")
        trained = train_release(
            held, stores, models.settings(), digest, options, on_progress=_in_tenths(context.log)
        )
        known = install(held, stores.releases, trained.made.release)
        live = read_active_releases(held).live.name == known.name
        return dg.MaterializeResult(metadata=release_metadata(trained, stores.photos, live=live))


@dg.multi_asset_check(
    name="gate",
    specs=check_specs(),
    description="Judges the latest release against the live one, on photos that neither has seen.",
)
def gate(
    context: dg.AssetCheckExecutionContext, database: DatabaseResource, models: ModelsResource
) -> Iterator[dg.AssetCheckResult]:
    """Worse than the margins in any measure: the run ends here, and `propose` refuses it."""
    from resources.training.gate import check_release

    with plain_failures(), closing(database.open()) as held:
        name = _latest(context.instance, MODEL_RELEASE, "name")
        on_progress = _in_tenths(context.log)
        verdict = check_release(
            held, models.stores(), models.settings(), name, on_progress=on_progress
        )
    yield from check_results(verdict)


def _latest(instance: dg.DagsterInstance, asset: dg.AssetKey, entry: str) -> str:
    """What the asset's latest materialisation says of itself."""
    event = instance.get_latest_materialization_event(asset)
    made = None if event is None else event.asset_materialization
    if made is None or entry not in made.metadata:
        raise NotReadyError(f"{asset.to_user_string()} was never materialised: do so first")
    return str(made.metadata[entry].value)


def _in_tenths(log: dg.DagsterLogManager) -> StepProgress:
    """Progress as lines of the run's log: one a tenth of each stage."""
    last = [("", -1)]

    def on_progress(what: str, done: int, of: int) -> None:
        stage, tenth = what.partition(" (")[0], 10 * done // max(of, 1)
        if (stage, tenth) != last[0]:
            last[0] = (stage, tenth)
            log.info(f"{what}: {done} of {of}")

    return on_progress
