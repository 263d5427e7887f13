"""The asset checks on a day's rows, whether a session or a run of an asset wrote them.

The queries are in `resources/catalogue/checks.py`. Each check has the partitions of its asset and
is evaluated for each day by itself. Dagster counts a day as passed while its last evaluation is of
its last materialization. A session evaluates the checks whenever it has
materialized a day; a run of an asset evaluates the checks of that asset.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.event_api import PartitionKeyFilter

from lalafo_assets.reports.failures import plain_failures
from resources.catalogue.checks import (
    EMBEDDINGS_CHECK,
    PHOTOS_CHECK,
    SHARES_CHECK,
    Check,
    Finding,
    catalogue_checks,
)
from resources.dagster.partitions import days_of_run, key_of
from resources.dagster.resources import DatabaseResource

RECENT_RUNS = 100
"""Runs that evaluate one check of one day between two evaluations of another run: far fewer."""

_DESCRIPTIONS = {
    PHOTOS_CHECK: "Every photo of the day's ads is either stored or has a row in `failures`.",
    EMBEDDINGS_CHECK: "Every stored photo of the day has an embedding of unit length under the "
    "live release's backbone.",
    SHARES_CHECK: "No label has a much larger share of the day's ads than in the 14 days before.",
}


def evaluations(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    name: str,
    findings: Mapping[str, Finding],
) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield a check's evaluation of each day, for the day's latest materialization.

    Args:
        findings: by the day's partition key.
    """
    for day, finding in findings.items():
        yield dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=name,
            passed=finding.passed,
            description=finding.description,
            metadata=dict(finding.figures),
            severity=severity_of(name),
            partition=day,
            # Without it a partition counts as not evaluated.
            target_materialization_data=_latest_materialization(instance, asset, day),
        )


def _latest_materialization(
    instance: dg.DagsterInstance, asset: dg.AssetKey, day: str
) -> AssetCheckEvaluationTargetMaterializationData | None:
    of_day = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[day])
    found = instance.fetch_materializations(of_day, limit=1).records
    if not found:
        return None
    return AssetCheckEvaluationTargetMaterializationData(
        storage_id=found[0].storage_id, run_id=found[0].run_id, timestamp=found[0].timestamp
    )


def evaluates(instance: dg.DagsterInstance, check: dg.AssetCheckKey, day: str, run_id: str) -> bool:
    """Return whether an evaluation by a run would be the check's latest one of a day.

    Dagster 1.13 keeps one evaluation of each run, check and partition, and takes that of the run
    which evaluated first last. So once another run has begun to evaluate the day, this one's
    evaluations no longer count, and it must not make that run's obsolete by materializing the day.
    """
    storage, of_day = instance.event_log_storage, PartitionKeyFilter(key=day)
    latest = storage.get_asset_check_execution_history(check, limit=1, partition_filter=of_day)
    if not latest or latest[0].run_id == run_id:
        return True
    own = (
        record
        for record in storage.get_asset_check_execution_history(
            check, limit=RECENT_RUNS, partition_filter=of_day
        )
        if record.run_id == run_id
    )
    return next(own, None) is None


def severity_of(check: str) -> dg.AssetCheckSeverity:
    """Return WARN for label shares, which the market itself may shift, and ERROR for the rest."""
    is_warning = check == SHARES_CHECK
    return dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR


def checks_by_day(days: dg.DailyPartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the catalogue's assets, by their partitions."""
    with warnings.catch_warnings():
        # Dagster 1.13 calls checks with partitions a preview.
        warnings.filterwarnings("ignore", ".*partitions_def on an AssetCheckSpec.*")
        return [
            _check(dg.AssetKey(asset), name, question, days)
            for asset, name, question in catalogue_checks()
        ]


def _check(
    asset: dg.AssetKey, name: str, question: Check, days: dg.DailyPartitionsDefinition
) -> dg.AssetChecksDefinition:
    def check(
        context: dg.AssetCheckExecutionContext, database: DatabaseResource
    ) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
        with plain_failures(), closing(database.open()) as db:
            covered = days_of_run(context.run.tags, days)
            findings = {key_of(day): question(db, [day]) for day in covered}
        yield from evaluations(context.instance, asset, name, findings)
        yield dg.Output(None)

    decorate = dg.asset_check(
        asset=asset, name=name, description=_DESCRIPTIONS[name], partitions_def=days
    )
    # An AssetCheckResult has no partition, so a run over a range of days yields evaluations.
    return decorate(check)  # type: ignore[arg-type] # Dagster runs generators, too
