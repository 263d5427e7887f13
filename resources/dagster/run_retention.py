"""Deletes old finished runs, with their event logs, from Dagster's own storage.

Owns which runs may be deleted. Ticks are pruned by Dagster: see `retention` in `dagster.yaml`.

What `delete_run` does in Dagster 1.13 (storage/event_log/sql_event_log.py, the same on PostgreSQL):
it deletes the run, all its rows of `event_logs`, materializations and observations included, and
their `asset_event_tags`. `asset_keys` keeps an asset's last materialization, but whether a
*partition* is materialized, and under which data version, is read from `event_logs`: a day whose
last materialization is deleted would be missing, and its downstream assets stale. So a run with the
last materialization of any partition is kept, and gets a tag with the reason. Results of asset
checks have their own table and are not deleted. Observations older than the setting are deleted:
they contain pictures. Dagster stores a sensor's run keys in the runs' tags, so a key can be used
again once its run is deleted; the sensors' keys name earlier runs or backfills, which do not
recur.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

KEPT_TAG = "lalafo/kept"
KEPT_WHY = "holds the last materialization of a partition"
FINISHED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
_PAGE = 1_000


@dataclass(slots=True)
class RunsPruned:
    """The counts of one call."""

    deleted: int = 0
    kept: int = 0  # each has the last materialization of a partition


def prune_runs(
    instance: dg.DagsterInstance,
    *,
    keep_days: int,
    frequent: Mapping[str, timedelta] | None = None,
    limit: int = 200,
    deleted: Callable[[str], None] = lambda _: None,
) -> RunsPruned:
    """Delete finished runs that are older than `keep_days`, the oldest first.

    An unfinished run is never deleted, however old. A run that is kept gets a tag, which updates
    its timestamp: it is checked again after `keep_days`.

    Args:
        keep_days: days since the run's last update.
        frequent: jobs whose successful runs are kept for a shorter time, since they are many.
        limit: the maximum number of runs to check in one call.
        deleted: called with the id of each run before it is deleted, for what it left elsewhere.
    """
    now = datetime.now(UTC)
    pruned = RunsPruned()
    old = dg.RunsFilter(statuses=FINISHED, updated_before=now - timedelta(days=keep_days))
    filters = [old] + [
        dg.RunsFilter(
            job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS], updated_before=now - retained_for
        )
        for job, retained_for in ({} if frequent is None else frequent).items()
    ]
    for run_filter in filters:
        left = limit - pruned.deleted - pruned.kept
        records = (
            instance.get_run_records(run_filter, limit=left, ascending=True) if left > 0 else []
        )
        for record in records:
            _prune(instance, record.dagster_run.run_id, pruned, deleted)
    return pruned


def _prune(
    instance: dg.DagsterInstance,
    run_id: str,
    pruned: RunsPruned,
    deleted: Callable[[str], None],
) -> None:
    if _has_last_materialization(instance, run_id):
        instance.add_run_tags(run_id, {KEPT_TAG: KEPT_WHY})
        pruned.kept += 1
        return
    # Captured output and pictures are outside the database, and can't be found without their run.
    deleted(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    pruned.deleted += 1


def _has_last_materialization(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the run has the last materialization of a partition or an unpartitioned asset."""
    storage_ids: dict[dg.AssetKey, dict[str | None, int]] = defaultdict(dict)
    for key, partition, storage_id in _materializations(instance, run_id):
        storage_ids[key][partition] = storage_id
    for key, of_asset in storage_ids.items():
        partitions = {partition for partition in of_asset if partition is not None}
        if partitions:
            last = instance.get_latest_storage_id_by_partition(
                key, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions
            )
            if any(last.get(partition) == of_asset[partition] for partition in partitions):
                return True
        if None in of_asset:
            newest = instance.fetch_materializations(key, limit=1).records
            if newest and newest[0].storage_id == of_asset[None]:
                return True
    return False


def _materializations(
    instance: dg.DagsterInstance, run_id: str
) -> Iterable[tuple[dg.AssetKey, str | None, int]]:
    """(asset, partition, storage id) of each materialization, in the order of storage."""
    cursor, more = None, True
    while more:
        page = instance.get_records_for_run(
            run_id, cursor, dg.DagsterEventType.ASSET_MATERIALIZATION, limit=_PAGE
        )
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event is not None and event.asset_key is not None:
                yield event.asset_key, event.partition, record.storage_id
        cursor, more = page.cursor, page.has_more
