"""A re-score on its way: announced to the sessions, in force beside the live release, a backfill.

Decides when a requested re-score may go a step further, and what its one Dagster backfill is. Every
step may be asked for again at any time, by the sensor and by a command at once: a step that was
taken is not taken twice.
"""

import json
import time
from collections.abc import Mapping

import dagster as dg
import structlog
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionStatus,
    PartitionBackfill,
)

from ops.tasks import all_tasks
from resources.dagster.executors import pod_tags
from resources.dagster.names import PHOTO_EMBEDDINGS, RELEASE_TAG, RESCORE_TAG
from resources.dagster.partitions import days, key_of
from resources.postgres.database import Database
from resources.releases.active import read_active_releases
from resources.releases.coverage import read_coverage
from resources.releases.registry import RegisteredRelease, find_release
from resources.rescoring.attempts import Rescore, is_at_work, mark_cancelled, mark_done, starting
from resources.rescoring.steps import Stage, Step, make_candidate
from resources.settings import load_settings

RUN_RETRIES = 3
BY_HAND = "`lalafo rescore --here` is at it, without Dagster"
log = structlog.get_logger()


def advance(
    instance: dg.DagsterInstance, database: Database, row: Rescore, *, announced_s: float | None
) -> Step:
    """Take a waiting re-score as far as it goes now; it never waits itself.

    Args:
        announced_s: how long ago its release was announced; None where that is not known.
    """
    if is_at_work(database, row.backfill_id):
        return Step(Stage.RUNNING, BY_HAND)
    step = make_candidate(database, row, announced_s=announced_s)
    if step is not None:
        return step
    if start_rescore(instance, database, row):
        return Step(Stage.RUNNING, f"backfill {row.backfill_id} scores the days that are owed")
    return look(instance, database, row)


def start_rescore(instance: dg.DagsterInstance, database: Database, row: Rescore) -> bool:
    """Start the row's backfill over the days that its release owes, once; whether it runs now.

    Where nothing is owed, nothing starts.
    """
    known = find_release(database, row.release)
    coverage = read_coverage(database, known.name)
    with starting(database, row) as wanted:
        if not wanted:
            return False
        if instance.get_backfill(row.backfill_id) is None and coverage.unscored:
            keys = [key_of(day) for day in coverage.unscored]
            instance.add_backfill(_backfill(instance, known, row, keys))
    return not coverage.complete


def look(instance: dg.DagsterInstance, database: Database, row: Rescore) -> Step:
    """How a running re-score stands; it is finished here, and begun again where it got lost."""
    coverage = read_coverage(database, row.release)
    if coverage.complete:
        mark_done(database, row)
        return Step(Stage.DONE, f"every day is scored under {row.release}")
    active = [release.name for release in read_active_releases(database).all]
    if row.release not in active:
        cancel(instance, database, row)
        return Step(Stage.CANCELLED, f"{row.release} is not in force any more: it was withdrawn")
    backfill = instance.get_backfill(row.backfill_id)
    if backfill is None:
        if is_at_work(database, row.backfill_id):
            return Step(Stage.RUNNING, BY_HAND)
        start_rescore(instance, database, row)
        return Step(Stage.RUNNING, f"backfill {row.backfill_id} was lost, and is begun again")
    unscored = f"{len(coverage.unscored)} of {coverage.days} days are owed"
    if backfill.status in BULK_ACTION_TERMINAL_STATUSES:
        mark_cancelled(database, row)
        how = backfill.status.value.lower().replace("_", " ")
        return Step(
            Stage.CANCELLED,
            f"backfill {row.backfill_id} ended ({how}) and {unscored} by {row.release}: its "
            f"runs in Dagster say why. `lalafo rescore {row.release}` goes on with what is left.",
        )
    return Step(Stage.RUNNING, f"{row.release}: {unscored}")


def cancel(instance: dg.DagsterInstance | None, database: Database, row: Rescore) -> None:
    """End an attempt, and its backfill with its runs; what is scored stays."""
    mark_cancelled(database, row)
    backfill = None if instance is None else instance.get_backfill(row.backfill_id)
    if (
        instance is not None
        and backfill is not None
        and backfill.status not in BULK_ACTION_TERMINAL_STATUSES
    ):
        # As the UI's button does it: the daemon ends the runs.
        ending = backfill.with_status(BulkActionStatus.CANCELING)  # type: ignore[no-untyped-call] # Dagster's
        instance.update_backfill(ending)


def _backfill(
    instance: dg.DagsterInstance, known: RegisteredRelease, row: Rescore, keys: list[str]
) -> PartitionBackfill:
    """Dagster 1.13 has no public call that starts a backfill: this is what its UI does."""
    scored = [dg.AssetKey(task.asset_name) for task in all_tasks() if task.name in known.tasks]
    wanted = days.empty_subset().with_partition_keys(keys)
    made: PartitionBackfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=row.backfill_id,
        backfill_timestamp=time.time(),
        tags=_tags(known.name, row.backfill_id),
        dynamic_partitions_store=instance,
        asset_graph_subset=AssetGraphSubset(  # type: ignore[call-arg] # mypy misses its defaults
            partitions_subsets_by_asset_key=dict.fromkeys((PHOTO_EMBEDDINGS, *scored), wanted),
            non_partitioned_asset_keys=set(),
        ),
        title=f"Re-score for {known.name}, attempt {row.attempt}",
        description=(
            f"{len(keys)} days, {keys[0]} to {keys[-1]}, whose ads {known.name} has not all "
            f"scored. Asked for by {row.requested_by}."
        ),
        run_config=None,
    )
    return made


def _tags(release: str, backfill_id: str) -> Mapping[str, str]:
    settings = load_settings()
    pods = pod_tags(settings.executor, gpus=int(settings.device != "cpu"), memory="8Gi")
    return {
        RELEASE_TAG: release,
        RESCORE_TAG: backfill_id,
        "dagster/max_retries": str(RUN_RETRIES),
        "dagster/priority": "-1",  # sessions first
        **{
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in pods.items()
        },
    }
