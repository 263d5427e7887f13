"""Advances a re-score: announces its release, makes it the candidate, runs its backfill.

Owns when a requested re-score may advance a step, and the definition of its one Dagster backfill.
Every step is idempotent: the sensor and a command may call it at the same time.
"""

import json
import time
from collections.abc import Mapping

import dagster as dg
import structlog
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.partitions.subset import PartitionsSubset
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionStatus,
    PartitionBackfill,
)

from ops.tasks import all_tasks
from resources.catalogue.first_day import read_first_day
from resources.dagster.executors import Execution
from resources.dagster.names import PHOTO_EMBEDDINGS, RELEASE_TAG, RESCORE_TAG
from resources.dagster.partitions import days_from, key_of
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, is_at_work, mark_cancelled, mark_done, starting
from resources.rescoring.steps import Stage, Step, make_candidate
from resources.settings import load_settings

RUN_RETRIES = 3
IN_PROCESS = "`lalafo rescore --in-process` is running it, without Dagster"
log = structlog.get_logger()


def advance(
    instance: dg.DagsterInstance, database: Database, row: Rescore, *, announced_s: float | None
) -> Step:
    """Advance a waiting re-score as far as possible now, without waiting.

    Args:
        announced_s: seconds since its release was announced; None if unknown.
    """
    if is_at_work(database, row.backfill_id):
        return Step(Stage.RUNNING, IN_PROCESS)
    step = make_candidate(database, row, announced_s=announced_s)
    if step is not None:
        return step
    if start_rescore(instance, database, row):
        return Step(Stage.RUNNING, f"backfill {row.backfill_id} scores the unscored days")
    return check_progress(instance, database, row)


def start_rescore(instance: dg.DagsterInstance, database: Database, row: Rescore) -> bool:
    """Start the row's backfill over the unscored days of its release, once.

    If no day is unscored, nothing starts.

    Returns: whether the re-score is running now.
    """
    known = find_release(database, row.release)
    coverage = read_coverage(database, known.name)
    with starting(database, row) as may_start:
        if not may_start:
            return False
        if instance.get_backfill(row.backfill_id) is None and coverage.unscored:
            keys = [key_of(day) for day in coverage.unscored]
            days = days_from(read_first_day(database, load_settings()))
            subset = days.empty_subset().with_partition_keys(keys)
            instance.add_backfill(_backfill(instance, known, row, subset))
    return not coverage.complete


def check_progress(instance: dg.DagsterInstance, database: Database, row: Rescore) -> Step:
    """Check a running re-score: mark it done or cancelled, or restart a lost backfill."""
    coverage = read_coverage(database, row.release)
    if coverage.complete:
        mark_done(database, row)
        return Step(Stage.DONE, f"every day is scored under {row.release}")
    active = [release.name for release in read_active_releases(database).all]
    if row.release not in active:
        cancel(instance, database, row)
        return Step(Stage.CANCELLED, f"{row.release} is no longer active: it was withdrawn")
    backfill = instance.get_backfill(row.backfill_id)
    if backfill is None:
        if is_at_work(database, row.backfill_id):
            return Step(Stage.RUNNING, IN_PROCESS)
        start_rescore(instance, database, row)
        return Step(Stage.RUNNING, f"backfill {row.backfill_id} was lost and is restarted")
    unscored = f"{len(coverage.unscored)} of {coverage.days} days are unscored"
    if backfill.status in BULK_ACTION_TERMINAL_STATUSES:
        mark_cancelled(database, row)
        status = backfill.status.value.lower().replace("_", " ")
        return Step(
            Stage.CANCELLED,
            f"backfill {row.backfill_id} ended ({status}), and {unscored} under {row.release}. Its "
            f"runs in Dagster have the reason. `lalafo rescore {row.release}` continues it.",
        )
    return Step(Stage.RUNNING, f"{row.release}: {unscored}")


def cancel(instance: dg.DagsterInstance | None, database: Database, row: Rescore) -> None:
    """Cancel an attempt, and its backfill with its runs; existing predictions stay."""
    mark_cancelled(database, row)
    backfill = None if instance is None else instance.get_backfill(row.backfill_id)
    if (
        instance is not None
        and backfill is not None
        and backfill.status not in BULK_ACTION_TERMINAL_STATUSES
    ):
        # As the UI's Cancel button does: the daemon terminates the runs.
        canceling = backfill.with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call] # Dagster's
        instance.update_backfill(canceling)


def _backfill(
    instance: dg.DagsterInstance, known: RegisteredRelease, row: Rescore, days: PartitionsSubset
) -> PartitionBackfill:
    """Build the backfill as Dagster's UI does: Dagster 1.13 has no public API to start one."""
    scored = [dg.AssetKey(task.asset_name) for task in all_tasks() if task.name in known.tasks]
    keys = sorted(days.get_partition_keys())
    backfill: PartitionBackfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=row.backfill_id,
        backfill_timestamp=time.time(),
        tags=_tags(known.name, row.backfill_id),
        dynamic_partitions_store=instance,
        asset_graph_subset=AssetGraphSubset(  # type: ignore[call-arg] # mypy misses its defaults
            partitions_subsets_by_asset_key=dict.fromkeys((PHOTO_EMBEDDINGS, *scored), days),
            non_partitioned_asset_keys=set(),
        ),
        title=f"Re-score for {known.name}, attempt {row.attempt}",
        description=(
            f"{len(keys)} days from {keys[0]} to {keys[-1]} with ads that {known.name} has not "
            f"scored. Requested by {row.requested_by}."
        ),
        run_config=None,
    )
    return backfill


def _tags(release: str, backfill_id: str) -> Mapping[str, str]:
    pods = Execution.from_settings(load_settings()).tags("batch")
    return {
        RELEASE_TAG: release,
        RESCORE_TAG: backfill_id,
        "dagster/max_retries": str(RUN_RETRIES),
        "dagster/priority": "-1",  # sessions first
        **{name: json.dumps(value) for name, value in pods.items()},
    }
